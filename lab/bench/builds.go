package main

import (
	"errors"
	"strconv"
	"strings"

	"gemel/node/config"
)

// builds measures the replicated volume of several programs in turn, over NBD, with
// and without TLS: what a change of the program is worth.
func (b *bench) builds() error {
	if b.against == "" {
		return errors.New("give another build to compare with: -against FILE, or several with commas between")
	}
	var all []contestant
	for i, x := range b.competitors() {
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
			for _, x := range all {
				if over := this(x.name); over != x.name {
					claims = append(claims, claim{w.Name, over, x.name, 1})
				}
			}
		}
	}
	return b.contend("Builds", claims, all)
}

// competitor is one program, with or without TLS by its name.
type competitor struct{ name, binary string }

// competitors returns this program and the others, with TLS first.
func (b *bench) competitors() (all []competitor) {
	begins := []string{"", plainPair + "-"}
	if b.onlyTLS {
		begins = begins[:1]
	}
	for _, begin := range begins {
		all = append(all, competitor{begin + "this", b.gemel})
		for i, binary := range strings.Split(b.against, ",") {
			name := begin + "other"
			if i > 0 {
				name += strconv.Itoa(i + 1)
			}
			all = append(all, competitor{name, binary})
		}
	}
	return all
}

// this is the name of this program's pair that another program's is compared with.
func this(name string) string {
	if strings.HasPrefix(name, plainPair) {
		return plainPair + "-this"
	}
	return "this"
}
