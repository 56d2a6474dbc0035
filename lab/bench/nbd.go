package main

import "gemel/node/config"

// overNBD is what the volume should reach beside the mirror.
var overNBD = []claim{
	{"4k write qd1", "gemel", "mirror", 1.3},
	{"4k randwrite qd32", "gemel", "mirror", 4},
	{"1M write qd8", "gemel", "mirror", 2},
	{"1M read qd8", "gemel", "mirror", 1},
	{"4k randread qd32", "gemel", "mirror", 1},
	{"4k write qd1", "plain", "mirror", 1.3},
	{"4k randwrite qd32", "plain", "mirror", 4},
	{"1M write qd8", "plain", "mirror", 2},
}

// nbd measures volume and mirror in turn, with the same NBD client on both.
func (b *bench) nbd() error {
	mirrorWiring, err := newWiringOf(b.room, "m", "")
	if err != nil {
		return err
	}
	m, err := newMirror(b.room, mirrorWiring, b.size)
	if err != nil {
		return err
	}
	w, err := newWiring(b.room, "")
	if err != nil {
		return err
	}
	p, err := newPair(b.room, w, b.gemel, config.FrontendNBDSocket, b.size)
	if err != nil {
		return err
	}
	if w, err = newWiringOf(b.room, "p", ""); err != nil {
		return err
	}
	plain, err := newPairIn(b.room, plainPair, w, b.gemel, config.FrontendNBDSocket, b.size)
	if err != nil {
		return err
	}
	const both = "disks past the page cache, flushed when the client asks; TCP with CUBIC"
	return b.contend("Over NBD", overNBD, []contestant{
		{"gemel", "the volume replicated, protocol C, TLS; " + both, p.target, p.replicators()},
		{"plain", "the volume replicated, protocol C, without TLS; " + both, plain.target, plain.replicators()},
		{"mirror", "qemu-storage-daemon mirror, write-blocking, no TLS; " + both +
			"; disks with libaio, cache.direct", m.target, m.daemons},
	})
}
