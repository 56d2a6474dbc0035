package block

import "fmt"

// Protocol says how far a write must have come at the peer before it completes
// to the application. Larger is weaker.
type Protocol uint8

// The protocols, by DRBD's letters. Whatever the protocol, a flush and a write
// with FUA complete when they are stable on every node of the in-sync set.
const (
	ProtocolC Protocol = iota // it is written there
	ProtocolB                 // it has arrived there
	ProtocolA                 // it was handed to the connection
)

// String returns the protocol's letter.
func (p Protocol) String() string {
	if p > ProtocolA {
		return fmt.Sprintf("protocol %d", uint8(p))
	}
	return "CBA"[p : p+1]
}

// ParseProtocol reads a protocol's letter.
func ParseProtocol(letter string) (Protocol, error) {
	switch letter {
	case "A":
		return ProtocolA, nil
	case "B":
		return ProtocolB, nil
	case "C":
		return ProtocolC, nil
	}
	return ProtocolC, fmt.Errorf("protocol %q: must be A, B or C", letter)
}
