package main

import (
	"os"
	"path/filepath"
	"time"

	"gemel/node/config"
)

// overFUSE is what replication may cost a block device made of FUSE and loop.
var overFUSE = []claim{
	{"4k write qd1", "alone", "bare", 0.9},
	{"4k randwrite qd32", "alone", "bare", 0.9},
	{"1M write qd8", "alone", "bare", 0.9},
	{"4k write + fsync each", "alone", "bare", 0.9},
	{"4k randwrite qd32", "replicated", "alone", 0.5},
	{"1M write qd8", "replicated", "two files", 0.6},
}

// fuse measures the block device of a volume beside FUSE and loop without a
// volume, and beside the disk.
func (b *bench) fuse() error {
	bare, err := b.bareDevice()
	if err != nil {
		return err
	}
	aloneWiring, err := newWiringOf(b.room, "l", "")
	if err != nil {
		return err
	}
	alone, err := newPairIn(b.room, "alone", aloneWiring, b.gemel, config.FrontendFuseLoop, b.size)
	if err != nil {
		return err
	}
	if err := alone.losePeer(); err != nil {
		return err
	}
	w, err := newWiring(b.room, "")
	if err != nil {
		return err
	}
	pair, err := newPair(b.room, w, b.gemel, config.FrontendFuseLoop, b.size)
	if err != nil {
		return err
	}
	two, err := b.room.makeImages(b.size, "two-1.img", "two-2.img")
	if err != nil {
		return err
	}
	return b.contend("Over FUSE and loop", overFUSE, []contestant{
		{"bare", "FUSE and loop on a file, no volume", bare.target, []*daemon{bare.daemon}},
		{"alone", "the volume, peer lost", alone.target, alone.replicators()[alone.primary : alone.primary+1]},
		{"replicated", "the volume replicated, protocol C, TLS", pair.target, pair.replicators()},
		{"two files", "two files on the same disk written together, direct I/O; the figures of one", target{files: two}, nil},
	})
}

type bareDevice struct {
	target target
	daemon *daemon
}

// bareDevice starts this program once more, to show a file through FUSE and loop.
func (b *bench) bareDevice() (*bareDevice, error) {
	images, err := b.room.makeImages(b.size, "bare.img")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ns, err := b.room.namespace("bare")
	if err != nil {
		return nil, err
	}
	d, err := b.room.start(ns, "bare", "unshare", "--mount", "--propagation", "private", self,
		"-show", images[0], "-dir", b.room.dir)
	if err != nil {
		return nil, err
	}
	link := filepath.Join(b.room.dir, "bare-dev", bareName)
	err = b.room.await("the bare device", 15*time.Second, 20*time.Millisecond, []*daemon{d}, func() (bool, error) {
		_, err := os.Stat(link)
		return err == nil, err
	})
	return &bareDevice{target{device: link}, d}, err
}
