package event

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func numbered(n int) Event { return Event{Kind: "test.number", Text: strconv.Itoa(n)} }

func texts(events []Event) string {
	var out []string
	for _, e := range events {
		out = append(out, e.Text)
	}
	return strings.Join(out, " ")
}

func TestRing(t *testing.T) {
	r := NewRing(3)
	if len(r.Since(0)) != 0 {
		t.Error("a new ring holds events")
	}
	for n := 1; n <= 5; n++ {
		r.Add(numbered(n))
	}
	for from, want := range map[uint64]string{0: "3 4 5", 1: "3 4 5", 4: "4 5", 6: "", 99: "3 4 5"} {
		if got := texts(r.Since(from)); got != want {
			t.Errorf("Since(%d) = %q, want %q", from, got, want)
		}
	}
}

func TestFileRotatesAndSurvivesBrokenLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "events.jsonl")
	f, err := OpenFile(path, 300)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 7; n++ {
		if err := f.Append(numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 300 {
		t.Errorf("not rotated: %v %v", info, err)
	}
	raw, _ := os.ReadFile(path)
	if err := os.WriteFile(path, append(raw, `{"kind":"ha`...), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path, 4)
	if err != nil || texts(got) != "4 5 6 7" {
		t.Errorf("read %q, %v", texts(got), err)
	}
}

func TestHistoryGoesOnAfterRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	for life := 1; life <= 2; life++ {
		f, err := OpenFile(path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		h, err := NewHistory(10, f)
		if err != nil {
			t.Fatal(err)
		}
		h.Add(numbered(life))
		got, next := h.Since(0)
		if life == 2 && (texts(got) != "1 2" || next != 3 || h.Last().Text != "2") {
			t.Errorf("second life: %q %d", texts(got), next)
		}
		if h.Problem() != nil || h.Close() != nil {
			t.Error("problem on disk")
		}
	}
}

func TestWait(t *testing.T) {
	h, _ := NewHistory(10, nil)
	if h.Last() != nil {
		t.Error("a new history has a last event")
	}
	got := make(chan string)
	go func() {
		events, _ := h.Wait(context.Background(), 1)
		got <- texts(events)
	}()
	h.Add(numbered(1))
	if g := <-got; g != "1" {
		t.Errorf("waited for %q", g)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if events, next := h.Wait(ctx, 2); len(events) != 0 || next != 2 {
		t.Errorf("a cancelled wait returned %v, %d", events, next)
	}
}

func TestSubscribe(t *testing.T) {
	h, _ := NewHistory(10, nil)
	ch, cancel := h.Subscribe(1)
	h.Add(numbered(1))
	h.Add(numbered(2)) // lost: the listener has room for one
	if e := <-ch; e.Text != "1" {
		t.Errorf("got %q", e.Text)
	}
	cancel()
	cancel()
	h.Add(numbered(3))
	select {
	case _, open := <-ch:
		if open {
			t.Error("a cancelled listener got an event")
		}
	case <-time.After(10 * time.Second):
		t.Error("the channel was not closed")
	}
}

func TestATornLineCostsNoOtherLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	torn := `{"kind":"ha` + strings.Repeat("x", 2<<20) // longer than any line should be
	if err := os.WriteFile(path, []byte(`{"kind":"test.number","text":"1"}`+"\n"+torn), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for n := 2; n <= 3; n++ {
		if err := f.Append(numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path, 9); err != nil || texts(got) != "1 2 3" {
		t.Errorf("read %q, %v", texts(got), err)
	}
}

// TestAFullDiskIsToldAndSurvived writes to /dev/full, which has no room ever.
func TestAFullDiskIsToldAndSurvived(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("needs /dev/full: %v", err)
	}
	path := filepath.Join(t.TempDir(), "events.jsonl")
	f, err := OpenFile(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHistory(10, f)
	if err != nil {
		t.Fatal(err)
	}
	h.Add(numbered(1))
	h.pen.flush(time.Minute)
	good := f.f
	f.f = full
	h.Add(numbered(2))
	h.pen.flush(time.Minute)
	if h.Problem() == nil || h.Lost() != 1 {
		t.Errorf("a full disk is not told: %v, %d lost", h.Problem(), h.Lost())
	}
	f.f = good
	h.Add(numbered(3))
	if got, err := h.From(time.Time{}); err != nil || texts(got) != "1 2 3" || h.Problem() != nil {
		t.Errorf("afterwards: %q, %v, %v", texts(got), err, h.Problem())
	}
	_ = full.Close()
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if got, _ := ReadFile(path, 9); texts(got) != "1 3" {
		t.Errorf("on disk: %q", texts(got))
	}
}

func TestFromATime(t *testing.T) {
	f, err := OpenFile(filepath.Join(t.TempDir(), "events.jsonl"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	h, _ := NewHistory(1, f) // the file remembers more
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for n := 1; n <= 3; n++ {
		e := numbered(n)
		e.Time = noon.Add(time.Duration(n) * time.Hour)
		h.Add(e)
	}
	if got, err := h.From(noon.Add(2 * time.Hour)); err != nil || texts(got) != "2 3" {
		t.Errorf("from 14:00: %q, %v", texts(got), err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}
