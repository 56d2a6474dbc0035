package doctor

import (
	"context"
	"errors"
	"testing"
)

func answer(err error) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return "fine", err }
}

// bareHost is a host that has nothing: every probe of the real list fails.
func bareHost() []Probe {
	probes := HostProbes()
	for i := range probes {
		probes[i].Ask = answer(errors.New("permission denied"))
	}
	return probes
}

func TestBareHostGetsUsefulLines(t *testing.T) {
	findings := Examine(t.Context(), bareHost())
	if Ready(findings) {
		t.Error("a host without anything is ready")
	}
	for _, finding := range findings {
		if finding.OK || finding.What == "" || finding.Why == "" || finding.Fix == "" || finding.Detail == "" {
			t.Errorf("not a useful line: %+v", finding)
		}
	}
}

func TestReady(t *testing.T) {
	missing := errors.New("missing")
	for _, test := range []struct {
		name   string
		probes []Probe
		want   bool
	}{
		{"all there", []Probe{{Ask: answer(nil)}}, true},
		{"a fallback", []Probe{{Ask: answer(nil)}, {Ask: answer(missing), Fallback: "slower"}}, true},
		{"no fallback", []Probe{{Ask: answer(missing)}, {Ask: answer(nil)}}, false},
		{"no probes", nil, true},
	} {
		if got := Ready(Examine(t.Context(), test.probes)); got != test.want {
			t.Errorf("%s: ready is %v, want %v", test.name, got, test.want)
		}
	}
}
