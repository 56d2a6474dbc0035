package cli

import (
	"context"
	"strings"
	"testing"

	"gemel/node/api"
	"gemel/node/replicator/control"
)

func (g *agent) Verify(_ context.Context, _ api.Caller, r control.VerifyRequest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.verified = append(g.verified, r)
	return g.answer
}

func (g *agent) Resync(_ context.Context, _ api.Caller, r control.ResyncRequest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resynced = append(g.resynced, r)
	return g.answer
}

func TestVerifyAsksWhatTheFlagsSay(t *testing.T) {
	b := newBox(t, true)
	for _, c := range []struct {
		args string
		want control.VerifyRequest
	}{
		{"", control.VerifyRequest{Action: control.ActionStart}},
		{"--repair --from 1MiB --max-rate 2MiB", control.VerifyRequest{Action: control.ActionStart, Repair: true, From: 1 << 20, MaxRate: 2 << 20}},
		{"--pause", control.VerifyRequest{Action: control.ActionPause}},
		{"--resume --max-rate none", control.VerifyRequest{Action: control.ActionResume, MaxRate: -1}},
		{"--stop", control.VerifyRequest{Action: control.ActionStop}},
	} {
		code, out, _ := b.run(t, "", strings.Fields("volume verify data "+c.args)...)
		c.want.Volume = "data"
		if code != 0 || len(b.agent.verified) == 0 || b.agent.verified[len(b.agent.verified)-1] != c.want {
			t.Errorf("%s: exit %d, asked %+v\n%s", c.args, code, b.agent.verified, out)
		}
	}
	for _, args := range []string{"--max-rate 0", "--from x", "--pause --stop", "--pause --repair"} {
		if code, _, _ := b.run(t, "", strings.Fields("volume verify data "+args)...); code == 0 {
			t.Errorf("%s was taken", args)
		}
	}
}

func TestVerifyWaitsForItsEnd(t *testing.T) {
	with := func(v *control.Verify) api.Status {
		s := wellStatus()
		s.Volumes[0].Verify = v
		return s
	}
	running := &control.Verify{Run: 1, State: control.VerifyRunning, Pos: 1 << 20, Total: 4 << 20}
	differs := &control.Verify{Run: 1, State: control.VerifyFinished, Pos: 4 << 20, Total: 4 << 20, Found: 4096,
		Ranges: []control.Range{{Offset: 8192, Length: 4096}}}
	repaired := *differs
	repaired.Repair, repaired.Repaired = true, 4096
	for _, c := range []struct {
		name, say string
		end       *control.Verify
		code      int
	}{
		{"equal", "no difference found", &control.Verify{Run: 1, State: control.VerifyFinished}, 0},
		{"different", "4.0 KiB differ at 8192+4096", differs, 1},
		{"repaired", "4.0 KiB repaired", &repaired, 0},
	} {
		b := newBox(t, true)
		// Asked once to reach the agent, once who is Primary, then before the order, then while it runs.
		b.agent.status = []api.Status{with(nil), with(nil), with(nil), with(running), with(c.end)}
		code, out, _ := b.run(t, "", "volume", "verify", "data", "--wait")
		if code != c.code || !strings.Contains(out, c.say) || !strings.Contains(out, "1.0 MiB of 4.0 MiB") {
			t.Errorf("%s: exit %d\n%s", c.name, code, out)
		}
	}
}

func TestResyncAsksWhatTheFlagsSay(t *testing.T) {
	b := newBox(t, true)
	for _, c := range []struct {
		args string
		want control.ResyncRequest
	}{
		{"--pause", control.ResyncRequest{Action: control.ActionPause}},
		{"--resume --max-rate 50MiB", control.ResyncRequest{Action: control.ActionResume, MaxRate: 50 << 20}},
		{"--min-rate 10MiB --max-rate none", control.ResyncRequest{MinRate: 10 << 20, MaxRate: -1}},
	} {
		code, out, _ := b.run(t, "", strings.Fields("volume resync data "+c.args)...)
		c.want.Volume = "data"
		if code != 0 || len(b.agent.resynced) == 0 || b.agent.resynced[len(b.agent.resynced)-1] != c.want {
			t.Errorf("%s: exit %d, asked %+v\n%s", c.args, code, b.agent.resynced, out)
		}
	}
	if code, _, _ := b.run(t, "", "volume", "resync", "data"); code == 0 {
		t.Error("nothing asked for was taken")
	}
}
