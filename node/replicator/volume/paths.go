package volume

import (
	"fmt"
	"time"

	"gemel/node/replicator/control"
	"gemel/node/replicator/link"
)

var pathStates = map[string]string{
	link.InUse: control.PathInUse, link.Standby: control.PathStandby, link.Down: control.PathDown,
}

// pathState tells of the links of the connection; v.mu is held.
func (v *Volume) pathState(s *control.VolumeState) {
	s.Move = v.move
	if v.conn == nil {
		return
	}
	s.PeerPath = v.conn.Path()
	for _, p := range v.conn.Paths() {
		s.Paths = append(s.Paths, control.Path{Name: p.Name, State: pathStates[p.State], Reason: p.Reason, RTT: p.RTT, Moves: p.Moves})
	}
}

// pathChanged makes watchers look again.
func (v *Volume) pathChanged() {
	v.mu.Lock()
	v.touched()
	v.unlock()
}

// pathMoved remembers a move of the connection for the history.
func (v *Volume) pathMoved(m link.Move) {
	v.mu.Lock()
	number := 1
	if v.move != nil {
		number = v.move.Number + 1
	}
	v.move = &control.Move{Number: number, From: m.From, To: m.To, Reason: m.Reason, Pause: m.Pause, Time: time.Now()}
	v.touched()
	v.unlock()
	v.o.Log(fmt.Sprintf("the connection moved from link %s to link %s after %v: %s",
		m.From, m.To, m.Pause.Round(100*time.Microsecond), m.Reason), nil)
}
