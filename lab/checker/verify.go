package checker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gemel/lab/checker/nfs3"
)

// readAhead is the number of records read with one request.
const readAhead = 32

// VerifyConfig is what Verify needs. The log says which files and records to look at.
type VerifyConfig struct {
	Target        // read through the server; Server and Export may be empty: then as in the log
	AckLog string // acknowledgement log of Run
	Path   string // when set: read the files in this directory instead of asking a server
}

// VerifyReport is the outcome of Verify.
type VerifyReport struct {
	Run        string      `json:"run"`
	Acked      uint64      `json:"acked"`      // acknowledged records that must still be there
	Superseded uint64      `json:"superseded"` // acknowledged, but written over by later ones
	Found      uint64      `json:"found"`
	Missing    []RecordRef `json:"missing"`
	Corrupt    []RecordRef `json:"corrupt"`
	MissingN   uint64      `json:"missing_total"` // the lists end after 100 entries
	CorruptN   uint64      `json:"corrupt_total"`
}

// RecordRef names one record.
type RecordRef struct {
	File   string `json:"file"`
	Number uint64 `json:"number"`
	Offset uint64 `json:"offset"`
}

// OK reports whether every acknowledged record was found intact, and there was one.
func (r VerifyReport) OK() bool {
	return r.Acked > 0 && r.Found == r.Acked && r.MissingN == 0 && r.CorruptN == 0
}

// Verify reads every acknowledged record and compares every byte of it. Lost and
// damaged records are in the report; an error means that the check could not be made:
// the log is unreadable, ErrNoAcks, or the server did not answer before ctx ended.
func Verify(ctx context.Context, cfg VerifyConfig) (VerifyReport, error) {
	log, err := readAckLog(cfg.AckLog)
	if err != nil {
		return VerifyReport{}, err
	}
	setDefault(&cfg.Server, log.header.Server)
	setDefault(&cfg.Export, log.header.Export)
	cfg.defaults()
	src, err := openSource(ctx, cfg)
	if err != nil {
		return VerifyReport{}, err
	}
	defer src.close()
	v := verifier{log: log, src: src, rep: VerifyReport{Run: log.header.Run,
		Missing: []RecordRef{}, Corrupt: []RecordRef{}}}
	for k := range log.counts {
		if err := v.worker(ctx, k); err != nil {
			return v.rep, err
		}
	}
	if v.rep.Acked == 0 {
		return v.rep, fmt.Errorf("verify %s: %w", cfg.AckLog, ErrNoAcks)
	}
	return v.rep, nil
}

type verifier struct {
	log     *acks
	src     source
	rep     VerifyReport
	scratch [RecordSize]byte
}

func (v *verifier) worker(ctx context.Context, k int) error {
	name := fileName(v.log.header.File, k)
	count, slots := v.log.counts[k], v.log.header.Slots
	places := count
	if slots > 0 {
		places = min(count, slots)
	}
	v.rep.Acked += places
	v.rep.Superseded += count - places
	for at := uint64(0); at < places; at += readAhead {
		n := min(readAhead, places-at)
		data, err := v.src.read(ctx, name, at*RecordSize, uint32(n*RecordSize))
		if err != nil {
			return fmt.Errorf("read %s at byte %d: %w", name, at*RecordSize, err)
		}
		for i := range n {
			v.record(k, name, at+i, cut(data, i))
		}
	}
	return nil
}

// record judges one place of a worker's file.
func (v *verifier) record(k int, name string, place uint64, got []byte) {
	count, slots := v.log.counts[k], v.log.header.Slots
	number := latest(place, count, slots)
	state := judgeRecord(got, v.log.run, k, number, v.scratch[:])
	if state != recordIntact && slots > 0 && count%slots == place {
		// The record after the last acknowledged one was perhaps under way to here.
		if judgeRecord(got, v.log.run, k, count, v.scratch[:]) == recordIntact {
			state = recordIntact
		}
	}
	ref := RecordRef{File: name, Number: number, Offset: place * RecordSize}
	switch state {
	case recordIntact:
		v.rep.Found++
	case recordAbsent:
		v.rep.MissingN++
		v.rep.Missing = sample(v.rep.Missing, ref)
	case recordCorrupt:
		v.rep.CorruptN++
		v.rep.Corrupt = sample(v.rep.Corrupt, ref)
	}
}

// latest is the highest acknowledged number that was written to the place.
func latest(place, count, slots uint64) uint64 {
	if slots == 0 {
		return place
	}
	return place + (count-1-place)/slots*slots
}

func sample(list []RecordRef, r RecordRef) []RecordRef {
	if len(list) < maxSamples {
		list = append(list, r)
	}
	return list
}

// cut returns record i of what was read, shorter or empty beyond its end.
func cut(data []byte, i uint64) []byte {
	from := min(i*RecordSize, uint64(len(data)))
	return data[from:min(from+RecordSize, uint64(len(data)))]
}

// source is where records are read back from. read returns fewer bytes at the end of
// the file, and none when there is no such file.
type source interface {
	read(ctx context.Context, name string, off uint64, n uint32) ([]byte, error)
	close()
}

func openSource(ctx context.Context, cfg VerifyConfig) (source, error) {
	if cfg.Path != "" {
		return pathSource(cfg.Path), nil
	}
	root, err := cfg.mount(ctx)
	if err != nil {
		return nil, err
	}
	return &nfsSource{target: cfg.Target, root: root, conn: cfg.steady(),
		files: map[string]nfs3.Handle{}}, nil
}

type pathSource string

func (p pathSource) read(_ context.Context, name string, off uint64, n uint32) ([]byte, error) {
	f, err := os.Open(filepath.Join(string(p), name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, n)
	got, err := f.ReadAt(buf, int64(off))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return buf[:got], err
}

func (pathSource) close() {}

type nfsSource struct {
	target Target
	root   nfs3.Handle
	conn   *steady
	files  map[string]nfs3.Handle
}

func (s *nfsSource) read(ctx context.Context, name string, off uint64, n uint32) ([]byte, error) {
	h, err := s.handle(ctx, name)
	if err != nil || h == nil {
		return nil, err
	}
	var data []byte
	err = s.until(ctx, func(c *nfs3.Client) (err error) {
		data, err = c.Read(h, off, n)
		return err
	})
	return data, err
}

func (s *nfsSource) handle(ctx context.Context, name string) (nfs3.Handle, error) {
	if h, ok := s.files[name]; ok {
		return h, nil
	}
	var h nfs3.Handle
	err := s.until(ctx, func(c *nfs3.Client) (err error) {
		h, err = c.Lookup(s.root, name)
		return err
	})
	if status, _ := nfs3.Refusal(err); status == nfs3.StatusNoEnt {
		err = nil
	}
	if err == nil {
		s.files[name] = h
	}
	return h, err
}

func (s *nfsSource) until(ctx context.Context, call func(*nfs3.Client) error) error {
	return s.conn.until(ctx, s.target.Retry, func(error) {}, call)
}

func (s *nfsSource) close() { s.conn.close() }
