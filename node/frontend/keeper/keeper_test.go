package keeper

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain makes a keeper of the test program when it is told so.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "keeper" {
		if Serve(context.Background(), os.Args[2]) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, dir) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return dir
}

func dial(t *testing.T, dir string) *Client {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := Dial(dir)
		if err == nil {
			t.Cleanup(c.Close)
			return c
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// closed reports whether the writing end of the pipe is closed everywhere.
func closed(t *testing.T, reader *os.File) bool {
	t.Helper()
	_ = reader.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := reader.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func pipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close(); writer.Close() })
	return reader, writer
}

func TestAFileOutlivesWhoKeptIt(t *testing.T) {
	dir := start(t)
	first, second := dial(t, dir), dial(t, dir)
	reader, writer := pipe(t)
	if err := first.Keep("data", int(writer.Fd()), []byte("note")); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := second.Take(short, "data"); !errors.Is(err, ErrServed) {
		t.Errorf("take from a living owner: %v", err)
	}
	if err := second.Drop(short, "data"); !errors.Is(err, ErrServed) {
		t.Errorf("drop under a living owner: %v", err)
	}
	if has, err := second.Has(short, "data"); has || err != nil {
		t.Errorf("served, but waits: %v, %v", has, err)
	}
	first.Close()
	fd, note, err := second.Take(t.Context(), "data")
	if err != nil || string(note) != "note" {
		t.Fatalf("take: %q, %v", note, err)
	}
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		t.Error(err)
	}
	unix.Close(fd)
	if n, err := reader.Read(make([]byte, 8)); n != 1 || err != nil {
		t.Errorf("what was written to the file did not come: %d, %v", n, err)
	}
	if closed(t, reader) {
		t.Error("the keeper gave its own descriptor away")
	}
	if err := second.Drop(t.Context(), "data"); err != nil {
		t.Error(err)
	}
	if !closed(t, reader) {
		t.Error("a dropped file is still open")
	}
	if _, _, err := second.Take(t.Context(), "data"); !errors.Is(err, ErrNothing) {
		t.Errorf("take of nothing: %v", err)
	}
	if err := second.Drop(t.Context(), "data"); err != nil {
		t.Errorf("drop of nothing: %v", err)
	}
}

func TestKeepReplaces(t *testing.T) {
	dir := start(t)
	c := dial(t, dir)
	old, oldEnd := pipe(t)
	_, newEnd := pipe(t)
	for _, f := range []*os.File{oldEnd, newEnd} {
		if err := c.Keep("data", int(f.Fd()), nil); err != nil {
			t.Fatal(err)
		}
	}
	oldEnd.Close()
	if !closed(t, old) {
		t.Error("the replaced file is still open")
	}
}

func TestRefusals(t *testing.T) {
	if _, err := Dial(t.TempDir()); !errors.Is(err, ErrNobody) {
		t.Errorf("no keeper: %v", err)
	}
	dir := start(t)
	c := dial(t, dir)
	_, writer := pipe(t)
	if _, _, err := c.call(request{Word: "dance"}, -1); err == nil {
		t.Error("an unknown word was obeyed")
	}
	if _, _, err := c.call(request{Word: wordTake}, int(writer.Fd())); err == nil {
		t.Error("a file that came with take was swallowed")
	}
	if _, _, err := c.call(request{Word: wordKeep}, -1); err == nil {
		t.Error("nothing was kept")
	}
	if err := Serve(t.Context(), dir); err == nil {
		t.Error("two keepers of one directory")
	}
}

// TestEnsure starts one process, and one only, which outlives its client while it
// keeps something.
func TestEnsure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	first, err := Ensure("/proc/self/exe", []string{"keeper", dir}, dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Ensure("/does/not/exist", nil, dir)
	if err != nil {
		t.Fatalf("it was started again: %v", err)
	}
	reader, writer := pipe(t)
	if err := first.Keep("data", int(writer.Fd()), nil); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	first.Close()
	if closed(t, reader) {
		t.Error("the file did not outlive its owner")
	}
	if err := second.Drop(t.Context(), "data"); err != nil {
		t.Error(err)
	}
	second.Close()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(SocketIn(dir)); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the keeper has nothing to do and stays")
		}
	}
}
