package checker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gemel/lab/checker/nfs3"
	"gemel/lab/checker/nfs3/nfs3test"
)

const export = "/srv/data"

// bench is a fake server with a configuration that reaches it.
type bench struct {
	*nfs3test.Server
	cfg Config
}

func newBench(t *testing.T) *bench {
	t.Helper()
	srv := nfs3test.New(export)
	port, err := srv.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	target := Target{Server: "127.0.0.1", NFSPort: port, MountPort: port, Export: export,
		Timeout: 100 * time.Millisecond, Retry: 5 * time.Millisecond}
	return &bench{srv, Config{Target: target, File: "check",
		AckLog: filepath.Join(t.TempDir(), "acks")}}
}

// runUntil runs the writer until the server has seen n WRITEs; judge may be nil.
func (b *bench) runUntil(t *testing.T, n int, judge func(int) nfs3test.Verdict) Report {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	b.OnWrite(func(i int) nfs3test.Verdict {
		if i >= n {
			stop()
		}
		if judge == nil {
			return nfs3test.Verdict{}
		}
		return judge(i)
	})
	rep, err := Run(ctx, b.cfg)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	if rep.Acked == 0 {
		t.Fatalf("nothing acknowledged: %+v", rep)
	}
	return rep
}

func (b *bench) verify(t *testing.T) VerifyReport {
	t.Helper()
	rep, err := Verify(t.Context(), VerifyConfig{Target: b.cfg.Target, AckLog: b.cfg.AckLog})
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return rep
}

func TestEveryAcknowledgedRecordIsFound(t *testing.T) {
	b := newBench(t)
	b.cfg.Workers = 3
	rep := b.runUntil(t, 200, nil)
	v := b.verify(t)
	if !v.OK() || v.Acked != rep.Acked || rep.Errors != 0 || rep.Retries != 0 {
		t.Errorf("write %+v, verify %+v", rep, v)
	}
	if rep.FirstAck.IsZero() || rep.LastAck.Before(rep.FirstAck) {
		t.Errorf("first ack %v, last ack %v", rep.FirstAck, rep.LastAck)
	}
}

func TestDroppedConnectionIsRetriedSilently(t *testing.T) {
	b := newBench(t)
	rep := b.runUntil(t, 60, func(i int) nfs3test.Verdict {
		return nfs3test.Verdict{Drop: i%20 == 7}
	})
	if rep.Errors != 0 || rep.Retries < 2 {
		t.Errorf("errors %d, retries %d", rep.Errors, rep.Retries)
	}
	if v := b.verify(t); !v.OK() {
		t.Errorf("verify %+v", v)
	}
}

func TestSilenceAndGraceAreRetriedSilently(t *testing.T) {
	b := newBench(t)
	rep := b.runUntil(t, 30, func(i int) nfs3test.Verdict {
		switch i {
		case 10:
			return nfs3test.Verdict{Silent: true}
		case 20, 21:
			return nfs3test.Verdict{Status: nfs3.StatusJukebox}
		}
		return nfs3test.Verdict{}
	})
	if rep.Errors != 0 || rep.Retries != 3 {
		t.Errorf("errors %d, retries %d", rep.Errors, rep.Retries)
	}
}

func TestRefusalIsAClientVisibleError(t *testing.T) {
	b := newBench(t)
	rep := b.runUntil(t, 20, func(i int) nfs3test.Verdict {
		if i == 5 {
			return nfs3test.Verdict{Status: nfs3.StatusStale}
		}
		return nfs3test.Verdict{}
	})
	if rep.Errors != 1 || len(rep.ErrorSamples) != 1 ||
		!strings.Contains(rep.ErrorSamples[0].Text, "stale") || rep.ErrorSamples[0].Record != 4 {
		t.Errorf("report %+v", rep)
	}
	if v := b.verify(t); !v.OK() {
		t.Errorf("verify %+v", v)
	}
}

func TestServerGoneAndBackIsOnePause(t *testing.T) {
	b := newBench(t)
	b.cfg.PauseFloor = 100 * time.Millisecond
	var gone bool
	back := make(chan error, 1)
	rep := b.runUntil(t, 40, func(i int) nfs3test.Verdict {
		if i == 20 && !gone {
			gone = true
			go func() { // Stop waits for this very call to end
				b.Stop()
				time.Sleep(300 * time.Millisecond)
				_, err := b.Start()
				back <- err
			}()
			return nfs3test.Verdict{Silent: true}
		}
		return nfs3test.Verdict{}
	})
	if err := <-back; err != nil {
		t.Fatal(err)
	}
	if len(rep.Pauses) != 1 || rep.LongestPauseMS < 300 || rep.Pauses[0].MS != rep.LongestPauseMS {
		t.Errorf("pauses %+v, longest %d ms", rep.Pauses, rep.LongestPauseMS)
	}
	if rep.Errors != 0 || rep.Pauses[0].Reason == "" {
		t.Errorf("report %+v", rep)
	}
	if v := b.verify(t); !v.OK() {
		t.Errorf("verify %+v", v)
	}
}

func TestVerifyFindsWhatWasLost(t *testing.T) {
	tests := []struct {
		name             string
		damage           func([]byte) []byte
		missing, corrupt uint64
	}{
		{"a zeroed record", func(f []byte) []byte { clear(f[5*RecordSize : 6*RecordSize]); return f }, 1, 0},
		{"a flipped bit", func(f []byte) []byte { f[7*RecordSize+99] ^= 4; return f }, 0, 1},
		{"half a record", func(f []byte) []byte { clear(f[7*RecordSize : 7*RecordSize+512]); return f }, 0, 1},
		{"a record of another place", func(f []byte) []byte {
			copy(f[9*RecordSize:10*RecordSize], f[8*RecordSize:])
			return f
		}, 1, 0},
		{"a file cut short", func(f []byte) []byte { return f[:20*RecordSize] }, 0, 0},
		{"no file content", func([]byte) []byte { return nil }, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			rep := b.runUntil(t, 50, nil)
			b.Damage("check.0", tt.damage)
			if kept := uint64(len(b.File("check.0")) / RecordSize); kept < rep.Acked {
				tt.missing = rep.Acked - kept
			}
			v := b.verify(t)
			if v.OK() || v.MissingN != tt.missing || v.CorruptN != tt.corrupt {
				t.Errorf("missing %d, corrupt %d; want %d, %d", v.MissingN, v.CorruptN, tt.missing, tt.corrupt)
			}
			if v.Found != v.Acked-tt.missing-tt.corrupt {
				t.Errorf("found %d of %d", v.Found, v.Acked)
			}
		})
	}
}

func TestSlotsAreWrittenOverAndChecked(t *testing.T) {
	b := newBench(t)
	b.cfg.Slots = 16
	rep := b.runUntil(t, 100, nil)
	v := b.verify(t)
	if !v.OK() || v.Acked != 16 || v.Acked+v.Superseded != rep.Acked {
		t.Fatalf("write acked %d, verify %+v", rep.Acked, v)
	}
	place := (rep.Acked - 1) % 16
	var run RunID
	old := make([]byte, RecordSize)
	copy(run[:], b.File("check.0")[8:24])
	fillRecord(old, run, 0, rep.Acked-1-16)
	b.Damage("check.0", func(f []byte) []byte { copy(f[place*RecordSize:], old); return f })
	if v := b.verify(t); v.MissingN != 1 || v.CorruptN != 0 {
		t.Errorf("an older record in the place of a newer: %+v", v)
	}
}

func TestVerifyReadsAPathToo(t *testing.T) {
	b := newBench(t)
	b.runUntil(t, 40, nil)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "check.0"), b.File("check.0"), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Verify(t.Context(), VerifyConfig{AckLog: b.cfg.AckLog, Path: dir})
	if err != nil || !v.OK() {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestAckLogOfAKilledWriter(t *testing.T) {
	b := newBench(t)
	rep := b.runUntil(t, 30, nil)
	log, err := os.ReadFile(b.cfg.AckLog)
	if err != nil {
		t.Fatal(err)
	}
	cut := bytes.TrimRight(log, "\n") // the last line lost its end
	if err := os.WriteFile(b.cfg.AckLog, cut, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := b.verify(t); !v.OK() || v.Acked != rep.Acked-1 {
		t.Errorf("acked %d, verify %+v", rep.Acked, v)
	}
}

func TestNothingAcknowledgedProvesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acks")
	l, err := createAckLog(path, logHeader{Run: strings.Repeat("0", 32), Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	_, err = Verify(t.Context(), VerifyConfig{AckLog: path, Path: t.TempDir()})
	if !errors.Is(err, ErrNoAcks) {
		t.Errorf("error %v", err)
	}
}

func TestUnknownExportIsAnError(t *testing.T) {
	b := newBench(t)
	b.cfg.Export = "/elsewhere"
	if _, err := Run(t.Context(), b.cfg); err == nil || !strings.Contains(err.Error(), "/elsewhere") {
		t.Errorf("error %v", err)
	}
}

func TestCommandsPrintReportsAndFailOnLoss(t *testing.T) {
	b := newBench(t)
	port := strings.TrimPrefix(b.cfg.nfsAddr(), "127.0.0.1:")
	common := []string{"--server=127.0.0.1", "--export=" + export, "--nfs-port=" + port,
		"--mount-port=" + port, "--ack-log=" + b.cfg.AckLog}
	run := func(verb string, more ...string) (string, error) {
		var out bytes.Buffer
		cmd := Command()
		cmd.SetArgs(append(append([]string{verb}, common...), more...))
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetIn(strings.NewReader(""))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	out, err := run("write", "--duration=300ms", "--rate=0")
	var rep Report
	if err != nil || json.Unmarshal([]byte(out), &rep) != nil || rep.Acked == 0 {
		t.Fatalf("write: %v\n%s", err, out)
	}
	if out, err := run("verify"); err != nil {
		t.Fatalf("verify: %v\n%s", err, out)
	}
	b.Damage("check.0", func(f []byte) []byte { f[100] ^= 1; return f })
	if out, err := run("verify"); !errors.Is(err, ErrBroken) {
		t.Fatalf("verify of a damaged file: %v\n%s", err, out)
	}
}
