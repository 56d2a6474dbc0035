package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"gemel/node/fencing"
)

// fakeDriver answers with what the case says.
type fakeDriver struct {
	fencing.None
	proof fencing.Proof
	err   error
}

func (d fakeDriver) Off(context.Context) (fencing.Proof, error) { return d.proof, d.err }

func TestFencingTakesOnlyAProof(t *testing.T) {
	refused := errors.New("refused")
	proof := fencing.Proof{Driver: "redfish", Method: "PowerState is Off", At: time.Unix(1, 0)}
	for name, c := range map[string]struct {
		driver fencing.Driver
		fails  bool
	}{
		"no driver":     {nil, false},
		"proof":         {fakeDriver{proof: proof}, false},
		"no proof":      {fakeDriver{}, true},
		"error":         {fakeDriver{err: refused}, true},
		"proof, error":  {fakeDriver{proof: proof, err: refused}, true},
		"driver 'none'": {fencing.None{}, true},
	} {
		err := (&course{fence: c.driver}).powerOff(t.Context())
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
}
