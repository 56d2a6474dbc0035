package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// nobody takes a log only when it is told to.
type nobody struct {
	asked chan struct{}
	free  chan struct{}
	bytes.Buffer
}

func (n *nobody) Write(b []byte) (int, error) {
	select {
	case n.asked <- struct{}{}:
	default:
	}
	<-n.free
	return n.Buffer.Write(b)
}

// TestALogThatNobodyTakesHoldsNobodyUp: the agent and the replicator log while they decide.
func TestALogThatNobodyTakesHoldsNobodyUp(t *testing.T) {
	out := &nobody{asked: make(chan struct{}, 1), free: make(chan struct{})}
	s := newLogSink(out)
	_, _ = fmt.Fprintln(s, "first")
	<-out.asked
	for n := range logWaiting + 7 {
		if _, err := fmt.Fprintln(s, n); err != nil {
			t.Fatal(err)
		}
	}
	s.close(time.Millisecond) // returns although nothing is out
	_, _ = fmt.Fprintln(s, "too late")
	close(out.free)
	<-s.done
	got := out.String()
	if !strings.HasPrefix(got, "first\n") || !strings.Contains(got, "8 lines of the log are lost") {
		t.Errorf("the log is %.200q", got)
	}
	if n := strings.Count(got, "\n"); n != 1+logWaiting+1 {
		t.Errorf("%d lines, want %d", n, 1+logWaiting+1)
	}
}

func TestLogSinkKeepsAllThatIsTaken(t *testing.T) {
	var out bytes.Buffer
	s := newLogSink(&out)
	for n := range 100 {
		_, _ = fmt.Fprintln(s, n)
	}
	s.close(time.Minute)
	if n := strings.Count(out.String(), "\n"); n != 100 {
		t.Errorf("%d lines of 100: %q", n, out.String())
	}
}
