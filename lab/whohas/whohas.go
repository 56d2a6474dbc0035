// Package whohas asks an Ethernet again and again who has an IPv4 address, and counts
// the answers by MAC: an outsider's view of which box answers for a volume.
//
// Every question is an ARP probe under a sender's hardware address of its own, to which the
// answers go back. So an answer that was long under way is counted for its own question
// and never mixed up with those to a later one: two MACs that answer one question
// both had the address when it reached them. Announcements, which nobody asked for, do
// not count. What the answers mean is lab/oracle's business.
package whohas

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Report is what was answered in a whole run.
type Report struct {
	Asked   uint32         `json:"asked"`
	Silent  uint32         `json:"silent"` // questions that nobody answered
	ByMAC   map[string]int `json:"by_mac"`
	Changes []Change       `json:"changes,omitempty"` // the first answer of a MAC after another's, or after none
	Twice   []Twice        `json:"twice,omitempty"`
}

// Change tells when another box began to answer.
type Change struct {
	At   time.Time `json:"at"`
	From string    `json:"from,omitempty"` // MAC; empty: nobody before
	To   string    `json:"to"`
}

// Twice is a question that several boxes answered.
type Twice struct {
	At   time.Time `json:"at"` // of the question
	MACs []string  `json:"macs"`
}

// remembered is how many questions answers are awaited for.
const remembered = 1024

// tally counts. It knows neither clock nor network.
type tally struct {
	report Report
	open   map[uint32]*question
	last   string
}

type question struct {
	at   time.Time
	macs []string
}

func newTally() *tally {
	return &tally{report: Report{ByMAC: map[string]int{}}, open: map[uint32]*question{}}
}

// ask begins a question and returns its number.
func (t *tally) ask(at time.Time) uint32 {
	t.report.Asked++
	n := t.report.Asked
	t.open[n] = &question{at: at}
	t.close(n - remembered)
	return n
}

func (t *tally) close(n uint32) {
	q := t.open[n]
	if q == nil {
		return
	}
	delete(t.open, n)
	switch {
	case len(q.macs) == 0:
		t.report.Silent++
	case len(q.macs) > 1:
		t.report.Twice = append(t.report.Twice, Twice{At: q.at, MACs: q.macs})
	}
}

// answer takes an answer; one that nobody asked for, or that came twice, says nothing.
func (t *tally) answer(n uint32, mac string, at time.Time) {
	q := t.open[n]
	if q == nil || slices.Contains(q.macs, mac) {
		return
	}
	q.macs = append(q.macs, mac)
	t.report.ByMAC[mac]++
	if mac != t.last {
		t.report.Changes = append(t.report.Changes, Change{At: at, From: t.last, To: mac})
		t.last = mac
	}
}

// end closes every question and returns the account.
func (t *tally) end() Report {
	for n := range t.report.Asked {
		t.close(n + 1)
	}
	slices.SortFunc(t.report.Twice, func(a, b Twice) int { return a.At.Compare(b.At) })
	return t.report
}

const (
	etherLen = 14
	frameLen = etherLen + 28
	etherARP = 0x0806
	arpReply = 2
)

// asker is the first half of the hardware addresses that ask: locally administered.
var asker = []byte{0x02, 0x67, 0x77}

// encode returns the probe that asks question n. Switches see the real MAC.
func encode(n uint32, mac net.HardwareAddr, ip netip.Addr) []byte {
	b := bytes.Repeat([]byte{0xff}, 6)
	b = append(b, mac...)
	b = binary.BigEndian.AppendUint16(b, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, a request
	b = append(b, asker...)
	b = append(b, byte(n>>16), byte(n>>8), byte(n))
	b = append(b, make([]byte, 4+6)...) // nobody asks, for an unknown MAC
	return append(b, ip.AsSlice()...)
}

// decode reads an answer to a question about ip.
func decode(b []byte, ip netip.Addr) (n uint32, mac string, ok bool) {
	if len(b) < frameLen || binary.BigEndian.Uint16(b[12:]) != etherARP || !bytes.Equal(b[:3], asker) {
		return 0, "", false
	}
	body := b[etherLen:]
	if !bytes.Equal(body[:8], []byte{0, 1, 8, 0, 6, 4, 0, arpReply}) || netip.AddrFrom4([4]byte(body[14:18])) != ip {
		return 0, "", false
	}
	return uint32(b[3])<<16 | uint32(b[4])<<8 | uint32(b[5]), net.HardwareAddr(body[8:14]).String(), true
}
