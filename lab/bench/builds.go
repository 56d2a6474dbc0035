package main

import (
	"errors"
	"strconv"

	"gemel/node/config"
)

// builds measures the replicated volume of two programs in turn, over NBD, with
// and without TLS: what a change of the program is worth.
func (b *bench) builds() error {
	if b.against == "" {
		return errors.New("give another build to compare with: -against FILE")
	}
	var all []contestant
	for i, x := range []struct{ name, binary string }{
		{"this", b.gemel}, {"other", b.against}, {plainPair + "-this", b.gemel}, {plainPair + "-other", b.against},
	} {
		w, err := newWiringOf(b.room, strconv.Itoa(i), "")
		if err != nil {
			return err
		}
		p, err := newPairIn(b.room, x.name, w, x.binary, config.FrontendNBDSocket, b.size)
		if err != nil {
			return err
		}
		all = append(all, contestant{x.name, x.binary, p.target, p.replicators()})
	}
	var claims []claim
	for _, w := range rows {
		if !w.fsync { // the NBD client of fio has none
			claims = append(claims, claim{w.Name, "this", "other", 1},
				claim{w.Name, plainPair + "-this", plainPair + "-other", 1})
		}
	}
	return b.contend("Two builds", claims, all)
}
