package replicator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"gemel/node/arbiter"
	"gemel/node/block"
	"gemel/node/config"
	"gemel/node/replicator/control"
	"gemel/node/replicator/disk"
	"gemel/node/replicator/link"
	"gemel/node/replicator/meta"
	"gemel/node/replicator/resync"
	"gemel/node/replicator/volume"
)

// slot is one configured volume: running, or not running with the reason.
type slot struct {
	d    *daemon
	conf *config.Volume

	exporter volume.Exporter

	changing sync.Mutex // one start, stop or create at a time

	mu      sync.Mutex
	vol     *volume.Volume // nil while not running
	disks   disks
	remove  func() // ends the listening for the peer
	problem string
	retry   bool   // the problem may go away by itself
	seq     uint64 // added to the volume's own, so that the sum never goes back
	stopped bool
}

func newSlot(d *daemon, conf *config.Volume) *slot {
	return &slot{d: d, conf: conf, exporter: d.export(conf.Name), problem: "the volume is being opened"}
}

// running returns the volume, or an *control.Error saying why it does not run.
func (s *slot) running() (*volume.Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vol == nil {
		return nil, &control.Error{Code: control.CodeNotRunning,
			Message: fmt.Sprintf("volume %s does not run on this node: %s", s.conf.Name, s.problem)}
	}
	return s.vol, nil
}

// state is what the agent sees.
func (s *slot) state() control.VolumeState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vol != nil {
		state := s.vol.State()
		state.Seq += s.seq
		state.Plain = s.d.cfg.Replication.Plain()
		return state
	}
	return control.VolumeState{
		Name: s.conf.Name, Problem: s.problem, Backing: s.conf.Device, Seq: s.seq,
		Role: control.Secondary, Disk: control.Diskless, PeerDisk: control.Unknown,
		Connection: control.Connecting, ConnectionReason: "there is no usable replica on this node",
		Record: arbiter.Record{Fresh: true},
	}
}

// start opens device and metadata and runs the volume; a failure becomes the
// slot's problem.
func (s *slot) start() {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.open()
}

// again is start for a volume whose problem may have gone away.
func (s *slot) again() {
	s.mu.Lock()
	due := s.vol == nil && s.retry && !s.stopped
	s.mu.Unlock()
	if due {
		s.start()
	}
}

// open does the work of start; s.changing is held.
func (s *slot) open() {
	d, err := s.openDisks()
	if err != nil {
		s.fail(err, true)
		return
	}
	var store *meta.Store
	if d.apart == nil {
		store, err = meta.Open(d.data, s.params())
	} else {
		store, err = meta.OpenApart(d.both(), s.params())
	}
	if err != nil {
		s.closeDisks(d)
		s.fail(err, false)
		return
	}
	s.run(d, store)
}

// disks are what a replica lies on; apart is nil when the metadata is on data.
type disks struct{ data, apart *disk.Disk }

func (d disks) both() meta.Apart {
	return meta.Apart{Meta: d.apart, Data: d.data, Backing: d.data.Identity()}
}

func (s *slot) openDisks() (d disks, err error) {
	if d.data, err = disk.Open(s.conf.Device); err != nil {
		return disks{}, err
	}
	if path := s.conf.Apart(); path != "" {
		if d.apart, err = disk.Open(path); err != nil {
			s.closeDisk(d.data)
			return disks{}, fmt.Errorf("metadata of volume %s: %w", s.conf.Name, err)
		}
	}
	return d, nil
}

func (s *slot) closeDisks(d disks) {
	s.closeDisk(d.data)
	if d.apart != nil {
		s.closeDisk(d.apart)
	}
}

// run starts the volume on open metadata; s.changing is held.
func (s *slot) run(d disks, store *meta.Store) {
	for _, note := range []string{d.data.Note(), store.Note()} {
		if note != "" {
			s.d.log.Warn(note, "volume", s.conf.Name)
		}
	}
	s.remember(store)
	connect, remove, err := s.connect()
	if err == nil {
		var v *volume.Volume
		if v, err = volume.New(s.options(d.data, store, connect)); err == nil {
			s.set(v, d, remove)
			return
		}
		remove()
	}
	s.closeDisks(d)
	s.fail(err, false)
}

// remember notes how large the metadata says that the device is, so that it is
// found again should the device be enlarged.
func (s *slot) remember(store *meta.Store, next ...int64) {
	if s.conf.Apart() != "" {
		return
	}
	if err := disk.Remember(s.d.cfg.SizeFile(s.conf.Name), append(next, store.Super().DeviceSize)...); err != nil {
		s.d.log.Warn("if the backing device is enlarged before the next start, its metadata will not be found",
			"volume", s.conf.Name, "reason", err)
	}
}

// connect returns this node's way of meeting the peer: node 0 dials.
func (s *slot) connect() (c volume.Connect, remove func(), err error) {
	if s.d.listener != nil {
		c, remove = volume.Accept(s.d.listener, s.conf.Name)
		return c, remove, nil
	}
	var dialer *link.Dialer
	if dialer, err = s.d.dialer(); err != nil {
		return nil, nil, err
	}
	return volume.Dial(dialer), func() {}, nil
}

func (s *slot) params() meta.Params {
	return meta.Params{Cluster: s.d.cfg.Cluster, Volume: s.conf.Name, Node: s.d.node, Seen: disk.Seen(s.d.cfg.SizeFile(s.conf.Name))}
}

func (s *slot) options(d *disk.Disk, store *meta.Store, connect volume.Connect) volume.Options {
	log := s.d.log.With("volume", s.conf.Name)
	protocol, _ := block.ParseProtocol(s.conf.Protocol) // the configuration was checked
	return volume.Options{
		Cluster: s.d.cfg.Cluster, Name: s.conf.Name, Node: s.d.node, Backing: s.conf.Device,
		Disk: d, Store: store, Connect: connect, Exporter: s.exporter,
		PeerTimeout: s.d.cfg.Replication.PeerTimeout, ConnectInterval: s.d.cfg.Replication.ConnectInterval,
		DiskTimeout: s.conf.DiskTimeout, Lease: s.d.cfg.Timing.Lease, Protocol: protocol,
		Resync: resync.Limits{MinRate: s.d.cfg.Replication.MinRate(), MaxRate: s.d.cfg.Replication.MaxRate(),
			Window: share(len(s.d.cfg.Volumes))},
		ReceiveLimit:   share(len(s.d.cfg.Volumes)),
		Checksums:      checksums[s.d.cfg.Replication.ChecksumResync],
		Changed:        s.d.touch,
		Moves:          func(size int64) { s.remember(store, size) },
		Moved:          func(int64) { s.remember(store) },
		LogSlots:       s.conf.ALExtents,
		OnError:        onError[s.conf.OnIOError],
		CongestionFill: s.conf.Fill(), PullAhead: s.conf.OnCongestion == config.CongestionPullAhead,
		Log: func(text string, err error) {
			if err != nil {
				log.Warn(text, "reason", err)
				return
			}
			log.Info(text)
		},
		Seed: randomSeed(), Vigil: s.d.vigil,
		AfterSplit: s.d.cfg.AfterSplit(), UndoDir: s.d.cfg.UndoDirectory(),
	}
}

// set makes v the slot's volume.
func (s *slot) set(v *volume.Volume, d disks, remove func()) {
	s.mu.Lock()
	s.vol, s.disks, s.remove, s.problem, s.retry = v, d, remove, "", false
	s.seq++
	s.mu.Unlock()
	s.d.log.Info("the volume runs as Secondary", "volume", s.conf.Name, "device", s.conf.Device, "bytes", d.data.Size())
	s.d.touch()
}

// fail records why the volume does not run. It is logged and told once.
func (s *slot) fail(err error, retry bool) {
	text := err.Error()
	if errors.Is(err, fs.ErrNotExist) {
		retry = true
	}
	s.mu.Lock()
	news := s.problem != text
	s.problem, s.retry = text, retry
	if news {
		s.seq++
	}
	s.mu.Unlock()
	if news {
		s.d.log.Error("the volume cannot be used", "volume", s.conf.Name, "reason", text)
		s.d.touch()
	}
}

func (s *slot) closeDisk(d *disk.Disk) {
	if err := d.Close(); err != nil {
		s.d.log.Warn("close the backing device", "volume", s.conf.Name, "reason", err)
	}
}

// stop ends the volume for good.
func (s *slot) stop() {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.halt("the replicator stops", true)
}

// halt ends a running volume: a Primary demotes cleanly if its device is
// unused. Else a device that outlives this process waits for the next one, if
// mayWait is set; with any other the Primary lets go, and what uses the device
// gets errors. s.changing is held.
func (s *slot) halt(why string, mayWait bool) {
	s.mu.Lock()
	v, d, remove := s.vol, s.disks, s.remove
	s.mu.Unlock()
	if v == nil {
		return
	}
	if v.State().Role == control.Primary {
		s.leave(v, mayWait)
	}
	remove()
	_ = v.Close() // always nil
	last := v.State().Seq
	s.mu.Lock()
	s.vol, s.disks, s.remove, s.problem, s.retry = nil, disks{}, nil, why, false
	s.seq += last + 1
	s.mu.Unlock()
	s.closeDisks(d)
	s.d.touch()
}

// leave ends a Primary; mayWait says that the process ends, and a device that is
// in use may wait for the next one.
func (s *slot) leave(v *volume.Volume, mayWait bool) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveClean)
	defer cancel()
	err := v.Demote(ctx, control.DemoteRequest{Volume: s.conf.Name, Clean: true})
	if err == nil {
		return
	}
	if mayWait && v.Leave() {
		s.d.log.Info("the device is in use and waits for the next replicator", "volume", s.conf.Name, "reason", err)
	} else {
		s.d.log.Warn("the Primary could not leave cleanly and lets go; what uses the device gets errors",
			"volume", s.conf.Name, "reason", err)
	}
	if err := v.Demote(ctx, control.DemoteRequest{Volume: s.conf.Name}); err != nil {
		s.d.log.Warn("let go", "volume", s.conf.Name, "reason", err)
	}
}

// giveUpWaiting removes the device of an earlier process that nobody asked this
// one to serve; its users would wait for ever.
func (s *slot) giveUpWaiting() {
	e, ok := s.exporter.(interface{ GiveUp() (bool, error) })
	if !ok {
		return
	}
	if gone, err := e.GiveUp(); gone || err != nil {
		s.d.log.Warn("a device waited in vain for this replica to become Primary; what uses it gets errors",
			"volume", s.conf.Name, "error", err)
	}
}
