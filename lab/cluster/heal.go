package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gemel/lab/bmc"
)

// Heal puts right whatever a verb made wrong: disks, power, cables, power controls, paused
// processes, filled memory, the clock. It returns what it found wrong, in words; on a
// lab that is whole it does nothing. When it returns, the hardware is whole; whether the
// pair is, is its own affair.
func (c *Cluster) Heal(ctx context.Context) ([]string, error) {
	state, err := loadState(c.dir)
	if err != nil {
		return nil, fmt.Errorf("heal: %w", err)
	}
	h := &healing{Cluster: c, state: state}
	for _, box := range state.boxes() {
		h.disk(ctx, box)
		h.power(ctx, box)
		h.cables(ctx, box)
		h.inside(ctx, box)
	}
	h.powerControls(ctx)
	jumped, err := c.JumpBack()
	h.note(jumped != 0, err, "clock: back by %v", jumped)
	if err := errors.Join(h.errs...); err != nil {
		return h.did, fmt.Errorf("heal: %w", err)
	}
	return h.did, nil
}

// healing is one Heal: what it did, and what it could not.
type healing struct {
	*Cluster
	state *State
	did   []string
	errs  []error
}

// note remembers a step that failed, or one that had something to do.
func (h *healing) note(done bool, err error, format string, args ...any) {
	if err != nil {
		h.errs = append(h.errs, err)
	} else if done {
		h.did = append(h.did, fmt.Sprintf(format, args...))
	}
}

// power switches a box on. Its memory is freed first, or it would not get far.
func (h *healing) power(ctx context.Context, box Box) {
	if h.state.Full[box.Name] {
		h.note(true, h.FreeMemory(ctx, box.Name), "memory of %s: freed", box.Name)
	}
	found, err := h.inspect(ctx, box.Name)
	if err == nil && !found.State.Running {
		err = h.PowerOn(ctx, box.Name)
	}
	h.note(err == nil && !found.State.Running, err, "%s: switched on", box.Name)
}

// disk takes the faults of a server's disk away, before the box that needs it starts.
func (h *healing) disk(ctx context.Context, box Box) {
	if box.Role != Server {
		return
	}
	gone, err := h.HealDisk(ctx, box.Name)
	h.note(false, err, "")
	for _, fault := range gone {
		h.note(true, nil, "disk of %s: no longer %s", box.Name, fault.Kind)
	}
}

func (h *healing) cables(ctx context.Context, box Box) {
	for _, sw := range box.Cables {
		key := cableKey(box.Name, sw)
		h.note(h.state.Pulled[key], h.PlugCable(box.Name, sw), "%s cable of %s: plugged", sw, box.Name)
		if both, bad := h.state.Bad[key]; bad {
			h.note(true, h.MendCable(ctx, box.Name, sw), "%s cable of %s: good again, it was %s", sw, box.Name, both)
		}
	}
}

// inside wakes what is paused in a box. A box that goes off meanwhile has nothing to wake.
func (h *healing) inside(ctx context.Context, box Box) {
	woken, err := h.resumeAll(ctx, box.Name)
	if errors.Is(err, ErrOff) {
		return
	}
	h.note(false, err, "")
	for _, process := range woken {
		h.note(true, nil, "%s of %s: resumed", process, box.Name)
	}
}

// powerControls mends the broken ones and starts those that are gone.
func (h *healing) powerControls(ctx context.Context) {
	for _, node := range slices.Sorted(maps.Keys(h.state.BMC)) {
		faults := h.state.BMC[node]
		h.note(true, h.BreakBMC(node, bmc.Faults{}), "power control of %s: good again, it %s", node, faults)
	}
	if h.state.Bare {
		return
	}
	running, err := Attendants()
	if err != nil {
		h.note(false, err, "")
		return
	}
	for _, box := range Boxes()[:2] {
		there := slices.ContainsFunc(running, func(a Attendant) bool {
			return a.Lab == h.lab && a.Kind == attendBMC && slices.Equal(a.Args, []string{box.Name})
		})
		if !there {
			h.note(true, h.engage(attendBMC, box.Name), "power control of %s: started", box.Name)
		}
	}
}
