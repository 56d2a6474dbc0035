package board

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"time"

	"gemel/lab/bundle"
	"gemel/lab/cluster"
	"gemel/node/api"
	"gemel/node/event"
)

const (
	// lookTime bounds one question; a box that does not answer in time counts as silent.
	lookTime = 2 * time.Second
	// tail is how much of a history is read for the newest events, in bytes.
	tail = 64 << 10
	// mostEvents bounds the events of a view.
	mostEvents = 60
)

// Watcher looks at a lab again and again. It is for one goroutine.
type Watcher struct {
	lab     *cluster.Cluster
	traffic map[string][2]uint64
	at      time.Time // of the traffic
	pulse   Pulse
	changed time.Time // when the pulse last changed
}

// NewWatcher returns a watcher of a lab.
func NewWatcher(lab *cluster.Cluster) *Watcher { return &Watcher{lab: lab} }

// Look takes one view. An error means that the lab is not there.
func (w *Watcher) Look(ctx context.Context) (View, error) {
	status, err := w.lab.Status(ctx)
	if err != nil {
		return View{}, err
	}
	v := View{At: time.Now(), Lab: status, Nodes: map[string]api.Status{}, Rates: map[string][2]float64{}}
	if err := w.rates(&v); err != nil {
		return View{}, err
	}
	var looks sync.WaitGroup
	var mu sync.Mutex
	for _, node := range status.Nodes {
		if node.Role != cluster.Server || !node.On {
			continue
		}
		looks.Go(func() {
			if said, ok := w.ask(ctx, node.Name); ok {
				mu.Lock()
				defer mu.Unlock()
				v.Nodes[node.Name] = said
			}
		})
	}
	looks.Go(func() { w.feel(ctx) })
	looks.Wait()
	v.Pulse = w.pulse
	v.Events = newest(cluster.Histories(w.lab.Lab()))
	return v, nil
}

func (w *Watcher) ask(ctx context.Context, node string) (api.Status, bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	var status api.Status
	said, err := w.lab.Exec(ctx, node, "gemel", "status", "--json")
	if err != nil || json.Unmarshal([]byte(said.Stdout), &status) != nil {
		return status, false
	}
	return status, true
}

// rates compares what the cables have carried with the last look.
func (w *Watcher) rates(v *View) error {
	now, err := w.lab.Traffic()
	if err != nil {
		return err
	}
	took := v.At.Sub(w.at).Seconds()
	for cable, bytes := range now {
		before, known := w.traffic[cable]
		if !known || took <= 0 || bytes[0] < before[0] || bytes[1] < before[1] { // wired anew
			continue
		}
		v.Rates[cable] = [2]float64{float64(bytes[0]-before[0]) / took, float64(bytes[1]-before[1]) / took}
	}
	w.traffic, w.at = now, v.At
	return nil
}

// feel opens a connection from the client's box to the service and closes it.
func (w *Watcher) feel(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*lookTime)
	defer cancel()
	const knock = "s=${EPOCHREALTIME/./}; timeout 1 bash -c ': </dev/tcp/$0/2049' \"$0\" && echo $((${EPOCHREALTIME/./}-s))"
	var micros int64
	said, err := w.lab.Exec(ctx, "client", "bash", "-c", knock, cluster.VIP.String())
	served := err == nil && said.Code == 0 && json.Unmarshal([]byte(strings.TrimSpace(said.Stdout)), &micros) == nil
	now := time.Now()
	if served != w.pulse.Served || w.changed.IsZero() {
		w.changed = now
	}
	w.pulse = Pulse{Served: served, Took: time.Duration(micros) * time.Microsecond, Since: now.Sub(w.changed)}
}

// newest reads the ends of histories. What cannot be read now may be at the next look.
func newest(histories map[string]string) []event.Event {
	var all []event.Event
	for _, path := range histories {
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		if info, err := file.Stat(); err == nil && info.Size() > tail {
			_, _ = file.Seek(-tail, 2)
		}
		events, err := bundle.Read(file)
		_ = file.Close()
		if err == nil {
			all = append(all, events...)
		}
	}
	bundle.Sort(all)
	return all[max(0, len(all)-mostEvents):]
}
