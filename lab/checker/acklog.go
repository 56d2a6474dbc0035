package checker

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrNoAcks says that an acknowledgement log holds no acknowledgement at all, so that
// a check of it would prove nothing.
var ErrNoAcks = errors.New("no write was ever acknowledged")

// The log is one JSON line about the run, then one line "worker number unixnano" per
// acknowledgement. A last line without its newline is what a killed writer leaves.
type logHeader struct {
	Run     string `json:"run"`
	Server  string `json:"server"`
	Export  string `json:"export"`
	File    string `json:"file"`
	Workers int    `json:"workers"`
	Slots   uint64 `json:"slots"` // 0: no limit, records are never overwritten
}

// ackLog appends acknowledgements, each with one write(2), so that a killed client
// forgets none it had noted. Safe for concurrent use.
type ackLog struct {
	mu sync.Mutex
	f  *os.File
}

func createAckLog(path string, h logHeader) (*ackLog, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create acknowledgement log: %w", err)
	}
	if err := json.NewEncoder(f).Encode(h); err != nil {
		f.Close()
		return nil, fmt.Errorf("write acknowledgement log %s: %w", path, err)
	}
	return &ackLog{f: f}, nil
}

func (l *ackLog) note(worker int, number uint64, at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := fmt.Fprintf(l.f, "%d %d %d\n", worker, number, at.UnixNano()); err != nil {
		return fmt.Errorf("write acknowledgement log %s: %w", l.f.Name(), err)
	}
	return nil
}

func (l *ackLog) close() error {
	if err := errors.Join(l.f.Sync(), l.f.Close()); err != nil {
		return fmt.Errorf("close acknowledgement log %s: %w", l.f.Name(), err)
	}
	return nil
}

// acks is a log read back. A worker numbers its records from 0 without holes, so the
// count of acknowledgements per worker says which numbers they were.
type acks struct {
	header logHeader
	run    RunID
	counts []uint64
}

func readAckLog(path string) (*acks, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open acknowledgement log: %w", err)
	}
	defer f.Close()
	a, err := parseAckLog(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("read acknowledgement log %s: %w", path, err)
	}
	return a, nil
}

func parseAckLog(r *bufio.Reader) (*acks, error) {
	a := &acks{}
	first, err := r.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("first line: %w", err)
	}
	if err := json.Unmarshal(first, &a.header); err != nil {
		return nil, fmt.Errorf("first line: %w", err)
	}
	if n, err := hex.Decode(a.run[:], []byte(a.header.Run)); err != nil || n != len(a.run) {
		return nil, fmt.Errorf("run id %q is not 32 hexadecimal digits", a.header.Run)
	}
	a.counts = make([]uint64, a.header.Workers)
	for n := 2; ; n++ {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err == nil {
			err = a.add(line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
}

func (a *acks) add(line string) error {
	var nums [3]uint64
	fields := strings.Fields(line)
	if len(fields) != len(nums) {
		return fmt.Errorf("%q is not three numbers", line)
	}
	for i, s := range fields {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return err
		}
		nums[i] = v
	}
	worker, number := nums[0], nums[1]
	if worker >= uint64(len(a.counts)) || number != a.counts[worker] {
		return fmt.Errorf("record %d of worker %d is out of turn", number, worker)
	}
	a.counts[worker]++
	return nil
}

// fileName is the file of one worker.
func fileName(base string, worker int) string { return fmt.Sprintf("%s.%d", base, worker) }
