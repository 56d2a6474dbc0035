package volume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/replicator/control"
	"gemel/node/replicator/volume/core"
)

// Sentinel errors of the control methods; core.ErrNotElected,
// core.ErrInconsistent and core.ErrNotPrimary are others.
var (
	errClosed      = errors.New("the volume is closed")
	ErrDeviceInUse = errors.New("device in use")
)

// quietLimit bounds how long a change of role waits for the last role's I/O.
const quietLimit = 10 * time.Second

// RefusedNotReady is the refusal of a set that the peer may not join yet.
const RefusedNotReady = "peer-not-ready"

// Prepare, Accept, Renew and Release are this node's vote. A reply is given
// only when the register is on stable storage; an error means no vote.
func (v *Volume) Prepare(req arbiter.PrepareRequest) (reply arbiter.PrepareReply, err error) {
	v.mu.Lock()
	defer v.unlock()
	reply, changed := v.register.Prepare(Now(), req.Epoch, req.Known)
	return reply, v.stableRecord(changed)
}

// Accept refuses a set with the peer in it while the peer lacks anything that
// was acknowledged: from the moment it says yes, every write waits for the peer.
func (v *Volume) Accept(req arbiter.AcceptRequest) (reply arbiter.AcceptReply, err error) {
	v.mu.Lock()
	defer v.unlock()
	if !v.core.MayAccept(req.Accepted) {
		return arbiter.AcceptReply{Record: v.register.Record, Refusal: RefusedNotReady}, nil
	}
	reply, changed := v.register.Accept(Now(), req.Accepted)
	if v.core.Problem() != nil && req.Accepted.Epoch.Owner() == v.o.Node {
		// Whether the disk keeps it nobody knows: the agent shall know, and not count it.
		reply.Volatile = true
		v.recordWanted++
		v.metaReady.Signal()
		v.core.Accepted(Now(), v.register.Record)
		v.run()
		return reply, nil
	}
	return reply, v.stableRecord(changed)
}

// Renew grants the lease; the grant itself needs no storage, the register it
// rests on does.
func (v *Volume) Renew(req arbiter.RenewRequest) (reply arbiter.RenewReply, err error) {
	v.mu.Lock()
	defer v.unlock()
	reply = v.register.Renew(Now(), req.Epoch, req.Term)
	if v.core.Problem() != nil && req.Epoch.Owner() == v.o.Node {
		return reply, nil // the own reign's, whose record is in memory at least
	}
	return reply, v.stableRecord(false)
}

// Release gives a lease back.
func (v *Volume) Release(req arbiter.ReleaseRequest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.register.Release(req.Epoch)
}

// Promote makes the replica Primary and shows the device. It is repeatable.
// Forced takes back that the replica was marked Outdated, and changes nothing
// else: the register must have accepted the reign.
func (v *Volume) Promote(req control.PromoteRequest) (control.PromoteReply, error) {
	v.mu.Lock()
	defer v.unlock()
	if w := v.core.View(0); w.Remote && w.Reign == req.Chosen.Epoch {
		return v.export()
	} else if !w.Primary {
		if req.Forced { // a person's word against another one's
			_, _ = v.core.Outdate(false) // what stands against it, Promote says
			v.run()
		}
		v.settle()
	}
	version, err := v.core.Promote(Now(), req.Chosen, req.Birth)
	v.run()
	if err != nil {
		return control.PromoteReply{}, fmt.Errorf("volume %s: %w", v.o.Name, err)
	}
	if !v.waitUntil(quietLimit, func() bool { return v.core.Durable(version) || v.core.Problem() != nil }) {
		return control.PromoteReply{}, fmt.Errorf("volume %s: promote: the crash mark is not on stable storage after %v", v.o.Name, quietLimit)
	}
	if err := v.core.Problem(); err != nil {
		return control.PromoteReply{}, fmt.Errorf("volume %s: promote: %w", v.o.Name, err)
	}
	v.hurry()
	return v.export()
}

// settle ends the connection and waits for what it left under way.
func (v *Volume) settle() {
	if v.conn != nil {
		v.drop(errors.New("this replica becomes Primary; the handshake is repeated"))
		v.core.ConnDown(Now(), v.session)
		v.run()
	}
	v.waitUntil(quietLimit, v.core.Quiet)
}

// export attaches the device; v.mu is held and given back meanwhile, since the
// kernel reads from a device that appears.
func (v *Volume) export() (control.PromoteReply, error) {
	if v.o.Exporter == nil || v.shown.Detach != nil {
		return control.PromoteReply{Device: v.shown.Path}, nil
	}
	size := v.core.View(0).Size // the least that the frontend can see
	v.mu.Unlock()
	shown, err := v.o.Exporter.Attach(v)
	v.mu.Lock()
	if err != nil {
		return control.PromoteReply{}, fmt.Errorf("volume %s: show the device: %w", v.o.Name, err)
	}
	v.shown, v.shownSize, v.unfit = shown, size, 0
	v.touched()
	v.fit()
	return control.PromoteReply{Device: shown.Path}, nil
}

// Chosen tells that 2 of 3 voters recorded a set.
func (v *Volume) Chosen(req control.ChosenRequest) (err error) {
	v.event(func(now time.Duration) { err = v.core.Chosen(now, req.Chosen) })
	return v.named(err)
}

// LeaseOver reports whether this node is Primary and its lease ran out.
func (v *Volume) LeaseOver() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.core.LeaseOver(Now())
}

// Outdate marks this Secondary's data as out of date by hand, or takes that back.
// It returns once that is on stable storage.
func (v *Volume) Outdate(req control.OutdateRequest) error {
	v.mu.Lock()
	defer v.unlock()
	version, err := v.core.Outdate(!req.Undo)
	v.run()
	if err == nil && !v.waitUntil(quietLimit, func() bool { return v.core.Durable(version) || v.core.Problem() != nil }) {
		err = fmt.Errorf("it is not on stable storage after %v", quietLimit)
	}
	if err == nil {
		err = v.core.Problem()
	}
	if err != nil {
		return fmt.Errorf("volume %s: outdate: %w", v.o.Name, err)
	}
	return nil
}

// Lease moves the end of the lease.
func (v *Volume) Lease(req control.LeaseRequest) (err error) {
	v.event(func(now time.Duration) { err = v.core.Lease(now, req.Epoch, time.Duration(req.Until)) })
	return v.named(err)
}

func (v *Volume) named(err error) error {
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.o.Name, err)
	}
	return nil
}

// Demote makes the replica Secondary; see control.DemoteRequest. It is
// repeatable. A clean one fails with ErrDeviceInUse and changes nothing while
// the device is in use, and with ctx's error while writes are held.
func (v *Volume) Demote(ctx context.Context, req control.DemoteRequest) error {
	v.mu.Lock()
	primary, remote := v.core.View(0).Primary, v.core.Remote()
	v.mu.Unlock()
	if primary && req.Clean {
		if err := v.hide(false); err != nil {
			return fmt.Errorf("volume %s: demote: %w: %w; unmount it and stop what uses it", v.o.Name, ErrDeviceInUse, err)
		}
		if err := v.flushWithin(ctx); err != nil {
			return fmt.Errorf("volume %s: demote: flush: %w", v.o.Name, err)
		}
		v.tellAll()
	}
	v.mu.Lock()
	v.core.Demote(Now())
	v.run()
	v.hurry()
	v.unlock()
	hidden := v.hide(true)
	v.mu.Lock()
	defer v.unlock()
	if !v.waitUntil(quietLimit, func() bool { return v.core.Quiet() || v.core.Problem() != nil }) {
		return fmt.Errorf("volume %s: demote: the last writes did not end within %v", v.o.Name, quietLimit)
	}
	if !req.Clean || remote { // it is out of the way, with a disk that failed as well
		return v.named(hidden)
	}
	return v.named(errors.Join(hidden, v.core.Problem()))
}

func (v *Volume) flushWithin(ctx context.Context) error {
	done := make(chan error, 1)
	v.running.Add(1)
	go func() {
		defer v.running.Done()
		done <- v.Flush()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hide detaches the device. Forced it is cut off in any case; an error then says
// that it stays visible to its last user.
func (v *Volume) hide(force bool) error {
	v.mu.Lock()
	detach := v.shown.Detach
	v.mu.Unlock()
	if detach == nil {
		return nil
	}
	err := detach(force)
	if err != nil && !force {
		return err
	}
	v.mu.Lock()
	v.shown, v.shownSize = Shown{}, 0 // cut off, even if it lingers
	v.touched()
	v.unlock()
	return err
}

// Leave lets the device wait for the next process, if it can, and reports
// whether it does. Demote then: no answer reaches a user any more, and what is
// under way is asked of the next process again.
func (v *Volume) Leave() bool {
	v.mu.Lock()
	leave := v.shown.Leave
	if leave != nil {
		v.shown, v.shownSize = Shown{}, 0
		v.touched()
	}
	v.unlock()
	if leave == nil {
		return false
	}
	leave()
	return true
}

// Reconnect ends StandAlone.
func (v *Volume) Reconnect() {
	v.mu.Lock()
	defer v.unlock()
	v.standAlone, v.reason, v.clash = false, "", nil
	v.touched()
	v.hurry()
}

// hurry tries to connect now instead of after the interval.
func (v *Volume) hurry() {
	select {
	case v.kick <- struct{}{}:
	default:
	}
}

// tellAll lets the peer note that it lacks nothing. If it does not, it only asks
// for more care than is needed.
func (v *Volume) tellAll() {
	v.mu.Lock()
	defer v.unlock()
	v.core.Leave()
	v.run()
	v.waitUntil(quietLimit, v.core.Left)
}

// SetProtocol changes the protocol of the running volume, until its next start.
func (v *Volume) SetProtocol(p block.Protocol) {
	v.event(func(time.Duration) { v.core.SetProtocol(p) })
}

// State is all there is to know of the volume.
func (v *Volume) State() control.VolumeState {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := Now()
	w := v.core.View(now)
	s := control.VolumeState{
		Name: v.o.Name, Role: control.Secondary, Disk: DiskState(w, v.o.Node, v.register.Record), PeerDisk: peerDisk(w),
		Connection: control.Connecting, ConnectionReason: v.reason, Backing: v.o.Backing,
		BackingSize: v.o.Disk.Size(), Size: w.Size, Device: v.shown.Path,
		Survives: v.shown.Leave != nil, Frontend: v.shown.By, FrontendWhy: v.shown.Why,
		Epoch: w.Reign, Record: v.record, Chosen: w.Chosen,
		WantShrink: w.WantShrink, ReadyToGrow: w.ReadyToGrow, Frozen: w.Frozen, LeaseLeft: w.Lease - now,
		CrashedPrimary: w.Crashed, Created: w.Created, Blank: w.Blank, Yields: w.Yields, OutOfSync: w.OutOfSync, Seq: w.Seq + v.seq,
		GivenUp: w.Discard, Outdated: w.Outdated, Keeping: w.Keeping, UndoFile: v.undoFile, Apart: v.apart(),
		Counters: control.Counters{Read: v.counters.read, Written: v.counters.written, Sent: w.Counters.Sent,
			Received: w.Counters.Received, Resynced: w.Counters.Resynced, Same: w.Counters.Same,
			Flushes: v.counters.flushes, Mended: w.Counters.Mended},
	}
	s.CongestionFill = v.core.Fill()
	s.Protocol, s.ConfiguredProtocol = w.Protocol.String(), v.o.Protocol.String()
	if w.Primary {
		s.Role, s.ProtocolInUse = control.Primary, w.InUse.String()
	}
	if w.MayLack != block.ProtocolC {
		s.MayLack = w.MayLack.String()
	}
	if w.Primary && v.promise > w.Reign && !w.Connected {
		s.NewerPromise = v.promise
	}
	switch {
	case w.Connected:
		s.Connection, s.ConnectionReason = control.Connected, ""
		v.pathState(&s)
	case v.standAlone, v.clash != nil:
		s.Connection = control.StandAlone
	}
	if w.Problem != nil {
		s.Problem = w.Problem.Error() + "; replace the device, then run `gemel volume create`"
		if w.Primary {
			s.Record = v.register.Record // it goes on from this one, and does not count it
		}
		s.MayYield, s.Remote = w.MayYield, w.Remote
	}
	s.Verify, s.Growth = v.verifyState(now), v.growState(&w)
	if w.Resync.Running || w.Resync.Waiting != "" {
		s.Resync = progress(w.Resync)
	}
	return s
}

func progress(r core.Resync) *control.Resync {
	direction := "target"
	if r.Source {
		direction = "source"
	}
	s := &control.Resync{Direction: direction, Full: r.Full, Total: r.Total, Done: r.Done, Rate: r.Rate, ETA: r.ETA,
		Waiting: r.Waiting, Compared: r.Compared, Same: r.Same, MinRate: r.Limits.MinRate, MaxRate: r.Limits.MaxRate,
		Unreadable: r.Unreadable, Unwritable: r.Unwritable, Stuck: r.Stuck}
	for _, u := range r.UnreadableRanges {
		s.UnreadableRanges = append(s.UnreadableRanges, control.Range{Offset: u.Off, Length: u.Len})
	}
	for _, u := range r.UnwritableRanges {
		s.UnwritableRanges = append(s.UnwritableRanges, control.Range{Offset: u.Off, Length: u.Len})
	}
	return s
}

func peerDisk(w core.View) string {
	switch {
	case !w.Connected:
		return control.Unknown
	case w.InSync || w.PeerState.Primary:
		return control.UpToDate
	case w.PeerState.Inconsistent || w.Resync.Running:
		return control.Inconsistent
	case w.Primary:
		return control.Outdated
	}
	return control.Consistent
}
