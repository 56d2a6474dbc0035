package arbiter

// Refusals of a voter, as they stand in a reply. The names are stable; Words
// gives the sentence.
const (
	RefusedMalformed     = "malformed"
	RefusedHigherPromise = "higher-promise"
	RefusedLeaseHeld     = "lease-held"
	RefusedFresh         = "fresh"
	RefusedUnknownEpoch  = "unknown-epoch"
	RefusedOutdated      = "outdated"
	RefusedOlder         = "older"
	RefusedConflict      = "conflict"
)

var words = map[string]string{
	RefusedMalformed:     "the request makes no sense (epoch, version, set or term out of range): both sides must run the same version",
	RefusedHigherPromise: "the voter has promised a higher epoch: another campaign came later, this one is over",
	RefusedLeaseHeld:     "the other node may still hold its lease: ask again when it has run out",
	RefusedFresh:         "the voter is new or lost its storage: it counts only after the others told it the in-sync set",
	RefusedUnknownEpoch:  "the voter has not heard of this reign: send it the in-sync set first",
	RefusedOutdated:      "the voter has recorded an in-sync set without this node: its data is not current",
	RefusedOlder:         "the voter has recorded a newer in-sync set already",
	RefusedConflict: "the voter has recorded a different in-sync set under the same epoch and version: " +
		"two programs act for one node; stop both agents of that node and look at its configuration",
}

// Words returns a full sentence for a Refusal constant, and the text itself for
// one it does not know (from a newer version, say).
func Words(refusal string) string {
	if sentence, known := words[refusal]; known {
		return sentence
	}
	return refusal
}
