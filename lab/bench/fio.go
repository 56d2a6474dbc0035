package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// row is one kind of load.
type row struct {
	Name  string
	rw    string
	block string
	depth int
	fsync bool // after each write; the latencies are then those of the fsync
}

var rows = []row{
	{"4k write qd1", "write", "4k", 1, false},
	{"4k randwrite qd32", "randwrite", "4k", 32, false},
	{"1M write qd8", "write", "1m", 8, false},
	{"1M read qd8", "read", "1m", 8, false},
	{"4k randread qd32", "randread", "4k", 32, false},
	{"4k write + fsync each", "write", "4k", 1, true},
}

// figures are what fio measured in one row on one subject.
type figures struct {
	IOPS float64 `json:"iops"`
	MBps float64 `json:"mb_per_s"` // 10^6 bytes
	Mean float64 `json:"mean_us"`
	P99  float64 `json:"p99_us"`
	CPU  float64 `json:"cpu_us,omitempty"` // of the daemons, per request
	// Switches are the context switches of the daemons' threads, per request.
	Switches float64 `json:"switches,omitempty"`
}

// target is what fio works on: a block device, or an NBD export.
type target struct {
	device string
	uri    string
	files  []string // written together; the figures are those of one
}

func (t target) args() []string {
	if t.uri != "" {
		return []string{"--ioengine=nbd", "--uri=" + t.uri}
	}
	return []string{"--ioengine=libaio", "--direct=1", "--group_reporting"}
}

// jobs returns what comes behind the arguments that hold for all jobs.
func (t target) jobs() []string {
	if t.uri != "" {
		return []string{"--name=row"}
	}
	var jobs []string
	for _, file := range append(t.files, t.device) {
		if file != "" {
			jobs = append(jobs, "--name=row", "--filename="+file)
		}
	}
	return jobs
}

// share returns the part of one file in the figures of all.
func (f figures) share(n int) figures {
	if n > 1 {
		f.IOPS, f.MBps = f.IOPS/float64(n), f.MBps/float64(n)
	}
	return f
}

// measure runs one row. The first second is left out: queues and caches fill.
func measure(ctx context.Context, t target, w row, seconds int) (figures, error) {
	args := append(t.args(), "--thread", "--rw="+w.rw, "--bs="+w.block,
		"--iodepth="+strconv.Itoa(w.depth), "--time_based", "--ramp_time=1", "--runtime="+strconv.Itoa(seconds),
		"--randrepeat=1", "--norandommap", "--output-format=json")
	if w.fsync {
		args = append(args, "--fsync=1")
	}
	out, err := output(ctx, "fio", append(args, t.jobs()...)...)
	if err != nil {
		return figures{}, err
	}
	f, err := parseFio(out, w)
	if err != nil {
		return figures{}, fmt.Errorf("fio, %s: %w", w.Name, err)
	}
	return f.share(len(t.files)), nil
}

// side is the part of fio's report on one direction of a job.
type side struct {
	IOPS  float64 `json:"iops"`
	Bytes float64 `json:"bw_bytes"` // per second
	Lat   latency `json:"lat_ns"`
	Clat  latency `json:"clat_ns"`
}

type latency struct {
	Mean       float64            `json:"mean"`
	Percentile map[string]float64 `json:"percentile"`
}

func parseFio(out []byte, w row) (figures, error) {
	var report struct {
		Jobs []struct {
			Error int  `json:"error"`
			Read  side `json:"read"`
			Write side `json:"write"`
			Sync  side `json:"sync"`
		} `json:"jobs"`
	}
	// Warnings may stand before the report.
	start := max(0, bytes.IndexByte(out, '{'))
	if err := json.Unmarshal(out[start:], &report); err != nil {
		return figures{}, fmt.Errorf("read its report: %w", err)
	}
	if len(report.Jobs) != 1 || report.Jobs[0].Error != 0 {
		return figures{}, fmt.Errorf("the job failed: %s", out)
	}
	job := report.Jobs[0]
	data := job.Write
	if w.rw == "read" || w.rw == "randread" {
		data = job.Read
	}
	f := figures{IOPS: data.IOPS, MBps: data.Bytes / 1e6, Mean: data.Lat.Mean / 1e3, P99: data.Clat.Percentile["99.000000"] / 1e3}
	if w.fsync {
		f.Mean, f.P99 = job.Sync.Lat.Mean/1e3, job.Sync.Lat.Percentile["99.000000"]/1e3
	}
	return f, nil
}
