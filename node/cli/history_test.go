package cli

import (
	"os"
	"strings"
	"testing"
	"time"

	"gemel/node/event"
)

// TestHistoryWithoutAnAgent: the file explains what the box did when nobody is there to ask.
func TestHistoryWithoutAnAgent(t *testing.T) {
	b := newBox(t, false)
	if code, _, errs := b.run(t, "", "history"); code != ExitUnreachable {
		t.Errorf("without agent and file: exit %d, %s", code, errs)
	}
	text, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.config, append(text, "state-dir: "+b.dir+"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := event.OpenFile(b.dir+"/"+event.FileName, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	e := event.Event{Time: time.Now(), Node: "server1", Volume: "data", Kind: "takeover.refused",
		Text: "server1 does not take over by itself.", Reason: "the data here is incomplete"}
	if err := f.Append(e); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := b.run(t, "", "history")
	if code != ExitOK || !strings.Contains(out, "the data here is incomplete") || !strings.Contains(errs, "no agent answers here") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}
