package cli

import (
	"strings"
	"testing"

	"gemel/node/replicator/control"
)

func TestStatusTellsWhatATakeoverCanLose(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*control.VolumeState)
		want   string // empty: no line
	}{
		"C": {func(v *control.VolumeState) { v.ProtocolInUse = "C" }, ""},
		"A": {func(v *control.VolumeState) { v.Protocol, v.ConfiguredProtocol, v.ProtocolInUse = "A", "A", "A" },
			"were not flushed can be lost"},
		"B": {func(v *control.VolumeState) { v.Protocol, v.ConfiguredProtocol, v.ProtocolInUse = "B", "B", "B" },
			"has received them"},
		"not noted": {func(v *control.VolumeState) { v.Protocol, v.ConfiguredProtocol, v.ProtocolInUse = "A", "A", "C" },
			"A is wanted, C in use"},
		"changed": {func(v *control.VolumeState) { v.Protocol, v.ProtocolInUse = "B", "B" },
			"the configuration says C"},
		"behind": {func(v *control.VolumeState) { v.Role, v.MayLack = control.Secondary, "A" },
			"missing here"},
	} {
		s := wellStatus()
		v := &s.Volumes[0].VolumeState
		v.Protocol, v.ConfiguredProtocol = "C", "C"
		c.change(v)
		text := strings.Join(strings.Fields(renderStatus(&s, false)), " ")
		if found := strings.Contains(text, "protocol"); found != (c.want != "") || !strings.Contains(text, c.want) {
			t.Errorf("%s: want %q in\n%s", name, c.want, renderStatus(&s, false))
		}
	}
}

func TestProtocolCommand(t *testing.T) {
	b := newBox(t, true)
	code, out, _ := b.run(t, "", "volume", "protocol", "data", "a")
	if code != 0 || !strings.Contains(out, "until their replicators restart") || !strings.Contains(out, "configuration says C") {
		t.Errorf("exit %d, %q", code, out)
	}
	if got := b.agent.orders; len(got) != 1 || got[0].Volume != "data A" {
		t.Errorf("orders %+v", got)
	}
	if code, _, errs := b.run(t, "", "volume", "protocol", "data", "D"); code != 2 || !strings.Contains(errs, "A, B or C") {
		t.Errorf("exit %d, %q", code, errs)
	}
}
