package api

import (
	"fmt"
	"slices"
	"sync"

	"gemel/node/arbiter"
	"gemel/node/identity"
)

// access is who may ask for a route.
type access int

const (
	nodesOnly access = iota // the other data node: heartbeats, votes, hand-over
	anyone                  // data nodes, witness, admins and the box itself: reading
	operators               // admins, the box itself, and data nodes (forwarded orders)
)

// may checks the caller against the route's access.
func (s *Server) may(c Caller, need access) error {
	ok := false
	switch need {
	case nodesOnly:
		ok = !c.Local && c.Role == identity.RoleNode && c.Name != s.self && slices.Contains(s.nodes, c.Name)
	case anyone:
		ok = true
	case operators:
		ok = c.Local || c.Role == identity.RoleAdmin || c.Role == identity.RoleNode
	}
	if !ok {
		return forbidden("%s may not ask this", c.who())
	}
	return nil
}

func (c Caller) who() string {
	if c.Local {
		return "a command on this box"
	}
	return fmt.Sprintf("%s %q", c.Role, c.Name)
}

func forbidden(format string, args ...any) *Error {
	return &Error{Code: CodeForbidden, Message: fmt.Sprintf(format, args...)}
}

// owns refuses a vote for an epoch that is not the caller's own.
func (s *Server) owns(c Caller, e arbiter.Epoch) error {
	if i := slices.Index(s.nodes, c.Name); i < 0 || e == 0 || e.Owner() != arbiter.NodeID(i) { //nolint:gosec // i is 0 or 1
		return forbidden("epoch %d does not belong to %s", e, c.who())
	}
	return nil
}

// beats refuses heartbeats whose number is not new.
type beats struct {
	mu      sync.Mutex
	boot    map[string]string    // newest Boot by sender
	retired map[string][]string  // earlier Boots by sender, oldest first
	last    map[[2]string]uint64 // newest Seq by sender and link
}

// retiredMax bounds what is remembered of earlier starts of a peer's agent.
const retiredMax = 256

func newBeats() *beats {
	return &beats{boot: map[string]string{}, retired: map[string][]string{}, last: map[[2]string]uint64{}}
}

// admit takes b, which came from the box called name.
func (g *beats) admit(name string, b Beat) error {
	if b.Node != name {
		return forbidden("a heartbeat of %q came from %q", b.Node, name)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Contains(g.retired[name], b.Boot) {
		return replayed("heartbeat %d of %s on link %q is of an earlier start of its agent", b.Seq, name, b.Link)
	}
	if b.Boot != g.boot[name] {
		g.restart(name, b.Boot)
	}
	at := [2]string{name, b.Link}
	if newest := g.last[at]; b.Seq <= newest {
		return replayed("heartbeat %d of %s on link %q comes after %d", b.Seq, name, b.Link, newest)
	}
	g.last[at] = b.Seq
	return nil
}

func (g *beats) restart(name, boot string) {
	if old, ok := g.boot[name]; ok {
		r := append(g.retired[name], old)
		g.retired[name] = r[max(0, len(r)-retiredMax):]
	}
	g.boot[name] = boot
	for at := range g.last {
		if at[0] == name {
			delete(g.last, at)
		}
	}
}

func replayed(format string, args ...any) *Error {
	return &Error{Code: CodeReplayed, Message: fmt.Sprintf(format, args...) + ": replayed"}
}
