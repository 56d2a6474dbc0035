// Package ballot puts votes of many volumes into one message: a node with
// hundreds of volumes asks each voter once where it would ask hundreds of times.
// It says how such a message and its answer look and hands each vote to its
// register. It opens no connection, and the votes stay what they were: each is
// of one volume, answered by that volume's register alone, and no answer waits
// for another's disk, since the answer is a stream of lines.
package ballot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"gemel/node/arbiter"
)

// Max bounds the votes of one message, so that it stays below 64 KiB with the
// longest names of volumes.
const Max = 128

// Vote is one request to one register; exactly one field is set.
type Vote struct {
	Prepare *arbiter.PrepareRequest `json:"prepare,omitempty"`
	Accept  *arbiter.AcceptRequest  `json:"accept,omitempty"`
	Renew   *arbiter.RenewRequest   `json:"renew,omitempty"`
	Release *arbiter.ReleaseRequest `json:"release,omitempty"`
}

// Epoch returns the epoch that the vote is for; zero when it asks for nothing.
func (v Vote) Epoch() arbiter.Epoch {
	switch {
	case v.Prepare != nil:
		return v.Prepare.Epoch
	case v.Accept != nil:
		return v.Accept.Accepted.Epoch
	case v.Renew != nil:
		return v.Renew.Epoch
	case v.Release != nil:
		return v.Release.Epoch
	}
	return 0
}

// Volume returns the name of the volume that the vote is on.
func (v Vote) Volume() string {
	switch {
	case v.Prepare != nil:
		return v.Prepare.Volume
	case v.Accept != nil:
		return v.Accept.Volume
	case v.Renew != nil:
		return v.Renew.Volume
	case v.Release != nil:
		return v.Release.Volume
	}
	return ""
}

// Reply answers a Vote: the field of its kind is set (none for a release), or
// Failure.
type Reply struct {
	Prepare *arbiter.PrepareReply `json:"prepare,omitempty"`
	Accept  *arbiter.AcceptReply  `json:"accept,omitempty"`
	Renew   *arbiter.RenewReply   `json:"renew,omitempty"`
	Failure *Failure              `json:"failure,omitempty"`
}

// Failure says why a register gave no answer at all.
type Failure struct {
	Message string `json:"message"`
	Code    string `json:"code,omitempty"` // stable name, if the register's keeper has one
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// Answer takes the reply to vote number i. It may be called from any goroutine.
type Answer func(i int, r Reply)

// Voter keeps registers and answers one vote at a time.
type Voter interface {
	Prepare(ctx context.Context, req arbiter.PrepareRequest) (arbiter.PrepareReply, error)
	Accept(ctx context.Context, req arbiter.AcceptRequest) (arbiter.AcceptReply, error)
	Renew(ctx context.Context, req arbiter.RenewRequest) (arbiter.RenewReply, error)
	Release(ctx context.Context, req arbiter.ReleaseRequest) error
}

// Caster answers many votes. It returns when all are answered or ctx ended; an
// error says why some were not. After it returned answer is not called again.
type Caster interface {
	Votes(ctx context.Context, votes []Vote, answer Answer) error
}

// errEmpty answers a vote that asks for nothing.
var errEmpty = errors.New("the vote asks for nothing")

// Cast gives each vote to v in a goroutine of its own, so that a register whose
// disk hangs holds up nobody else. code names an error, or returns "".
func Cast(ctx context.Context, v Voter, votes []Vote, code func(error) string, answer Answer) error {
	type done struct {
		i int
		r Reply
	}
	all := make(chan done, len(votes))
	for i := range votes {
		go func() { all <- done{i, one(ctx, v, &votes[i], code)} }()
	}
	for range votes {
		select {
		case d := <-all:
			answer(d.i, d.r)
		case <-ctx.Done():
			return fmt.Errorf("cast votes: %w", ctx.Err())
		}
	}
	return nil
}

func one(ctx context.Context, v Voter, vote *Vote, code func(error) string) (r Reply) {
	var err error
	switch {
	case vote.Prepare != nil:
		r.Prepare, err = reply(v.Prepare(ctx, *vote.Prepare))
	case vote.Accept != nil:
		r.Accept, err = reply(v.Accept(ctx, *vote.Accept))
	case vote.Renew != nil:
		r.Renew, err = reply(v.Renew(ctx, *vote.Renew))
	case vote.Release != nil:
		err = v.Release(ctx, *vote.Release)
	default:
		err = errEmpty
	}
	if err != nil {
		return Reply{Failure: &Failure{Message: err.Error(), Code: code(err)}}
	}
	return r
}

func reply[T any](r T, err error) (*T, error) { return &r, err }

// NoCode is for Cast where errors have no names.
func NoCode(error) string { return "" }

// line is one answer as it travels.
type line struct {
	N int `json:"n"`
	Reply
}

// Write casts the votes and writes each answer to w as it comes, a line of JSON
// each; flush sends on what was written. It fails when c does, or w.
func Write(ctx context.Context, w io.Writer, flush func() error, votes []Vote, c Caster) error {
	lines := make(chan line, len(votes))
	var failed error
	go func() {
		defer close(lines)
		failed = c.Votes(ctx, votes, func(i int, r Reply) { lines <- line{i, r} })
	}()
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	var err error
	for l := range lines {
		if err == nil {
			err = encoder.Encode(l)
		}
		if err == nil && len(lines) == 0 {
			err = errors.Join(out.Flush(), flush())
		}
	}
	return errors.Join(failed, err)
}

// maxLine bounds one answer in bytes.
const maxLine = 8 << 10

// Read takes the answers to n votes from r as they come. It fails when some are
// missing at the end, or are not answers.
func Read(r io.Reader, n int, answer Answer) error {
	decoder := json.NewDecoder(io.LimitReader(r, int64(n)*maxLine))
	answered := make([]bool, n)
	for left := n; left > 0; {
		var l line
		if err := decoder.Decode(&l); err != nil {
			return fmt.Errorf("read the answers to %d votes: %d are missing: %w", n, left, err)
		}
		if l.N < 0 || l.N >= n || answered[l.N] {
			return fmt.Errorf("read the answers to %d votes: number %d makes no sense", n, l.N)
		}
		answered[l.N] = true
		left--
		answer(l.N, l.Reply)
	}
	return nil
}
