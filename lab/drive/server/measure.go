package server

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gemel/lab/drive/model"
	"gemel/node/replicator/buffer"
)

// Measured is what a drive did in real time beside what its model says. Rates are
// bytes per second; 0 where the model has no limit.
type Measured struct {
	Model          string        `json:"model"`
	Burst          float64       `json:"burst"`
	BurstSaid      float64       `json:"burst_said"`
	Sustained      float64       `json:"sustained"`
	SustainedSaid  float64       `json:"sustained_said"`
	Read           float64       `json:"read"`
	ReadSaid       float64       `json:"read_said"`
	Flush          time.Duration `json:"flush_ns"` // mean of a write of 4 KiB and a flush, here and there
	FlushSaid      time.Duration `json:"flush_said_ns"`
	BytesSustained int64         `json:"bytes_sustained"`
}

const (
	request = 256 << 10
	depth   = 4
)

// Measure runs a drive through burst, sustained writing, reading and flushing. It
// overwrites the device.
func Measure(ctx context.Context, device string, size int64, params model.Params) (Measured, error) {
	m := Measured{Model: params.Name}
	file, err := os.OpenFile(device, os.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return m, fmt.Errorf("measure %s: %w", device, err)
	}
	defer file.Close()
	m.BurstSaid, m.SustainedSaid, m.ReadSaid = params.Burst(), params.Sustained(), params.Sustained()
	m.FlushSaid = params.Seek + 2*params.Latency
	cache := int64(params.Cache) * int64(params.Platters)
	burst := max(4<<20, cache*3/4/request*request)
	if m.Burst, err = rate(ctx, file.WriteAt, 0, burst); err != nil {
		return m, fmt.Errorf("measure %s: burst: %w", device, err)
	}
	if _, err = rate(ctx, file.WriteAt, burst, max(cache, request)*2); err != nil {
		return m, fmt.Errorf("measure %s: fill the cache: %w", device, err)
	}
	m.BytesSustained = min(size/2, max(128<<20, 8*cache))
	if m.Sustained, err = rate(ctx, file.WriteAt, 0, m.BytesSustained); err != nil {
		return m, fmt.Errorf("measure %s: sustained: %w", device, err)
	}
	if err = file.Sync(); err == nil {
		m.Read, err = rate(ctx, file.ReadAt, 0, m.BytesSustained)
	}
	if err != nil {
		return m, fmt.Errorf("measure %s: read: %w", device, err)
	}
	if m.Flush, err = flushes(ctx, file, size); err != nil {
		return m, fmt.Errorf("measure %s: flush: %w", device, err)
	}
	return m, nil
}

// rate moves total bytes in a row with some requests under way, and returns bytes per second.
func rate(ctx context.Context, move func([]byte, int64) (int, error), from, total int64) (float64, error) {
	var workers sync.WaitGroup
	var mu sync.Mutex
	var failed error
	next, end, began := from, from+total, time.Now()
	take := func() (off int64, more bool) {
		mu.Lock()
		defer mu.Unlock()
		off = next
		next += request
		return off, off < end && failed == nil && ctx.Err() == nil
	}
	for range depth {
		workers.Go(func() {
			p := buffer.Get(request)
			defer buffer.Put(p)
			for off, more := take(); more; off, more = take() {
				if _, err := move(p, off); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	if failed == nil {
		failed = ctx.Err()
	}
	return float64(total) / time.Since(began).Seconds(), failed
}

func flushes(ctx context.Context, file *os.File, size int64) (time.Duration, error) {
	const count = 50
	p := buffer.Get(4096)
	defer buffer.Put(p)
	began := time.Now()
	for i := range int64(count) {
		// Backwards and far apart, so that every one is a seek.
		if _, err := file.WriteAt(p, (count-i)*(size/(count+1))/4096*4096); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return time.Since(began) / count, nil
}
