package ownthread

import (
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNeverTheFirstThread(t *testing.T) {
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			_ = Do(func() error {
				if unix.Gettid() == unix.Getpid() {
					t.Error("ran on the first thread")
				}
				return nil
			})
		})
	}
	wg.Wait()
}

func TestErrorComesBack(t *testing.T) {
	want := errors.New("no")
	if got := Do(func() error { return want }); !errors.Is(got, want) {
		t.Fatalf("got %v", got)
	}
}
