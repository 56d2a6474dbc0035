package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"gemel/node/arbiter/ballot"
)

// nothing is the body of a request or reply that says nothing.
type nothing struct{}

// identify finds out who sent a request.
type identify func(*http.Request) (Caller, error)

// route is one path with what it needs and how it is answered.
type route struct {
	path   string
	method string
	need   access
	limit  time.Duration
	// fallback is the code of a handler's plain error.
	fallback string
	answer   func(ctx context.Context, c Caller, r *http.Request, body []byte) (any, error)
}

func (s *Server) routes(who identify) http.Handler {
	h := s.handler
	mux := http.NewServeMux()
	for _, rt := range []route{
		{PathBeat, http.MethodPost, nodesOnly, quickLimit, CodeFailed, body(s.beat)},
		{PathVotes, http.MethodPost, nodesOnly, quickLimit, CodeFailed, body(s.votes)},
		{PathHandOver, http.MethodPost, nodesOnly, quickLimit, CodeFailed, body(said(h.HandOver))},
		{PathReboot, http.MethodPost, nodesOnly, quickLimit, CodeRefused, body(said(s.reboot))},
		{PathClients, http.MethodPost, nodesOnly, quickLimit, CodeFailed, body(h.Clients)},
		{PathStatus, http.MethodGet, anyone, quickLimit, CodeFailed, s.status},
		{PathEvents, http.MethodGet, anyone, waitMax + quickLimit, CodeFailed, s.events},
		{PathHistory, http.MethodGet, anyone, quickLimit, CodeFailed, s.history},
		{PathWhatIf, http.MethodPost, anyone, waitMax, CodeFailed, body(h.WhatIf)},
		{PathStage, http.MethodGet, anyone, quickLimit, CodeFailed, s.stage},
		{PathSwitchover, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.Switchover))},
		{PathGrab, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.Grab))},
		{PathCreate, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.CreateVolume))},
		{PathConnect, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.Connect))},
		{PathProtocol, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.Protocol))},
		{PathVerify, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.Verify))},
		{PathResync, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.Resync))},
		{PathResize, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.Resize))},
		{PathOutdate, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.Outdate))},
		{PathGiveUp, http.MethodPost, operators, orderLimit, CodeRefused, body(said(h.GiveUp))},
		{PathDrill, http.MethodPost, operators, orderLimit, CodeRefused, body(h.Drill)},
		{PathMaintenance, http.MethodPost, operators, orderLimit, CodeRefused, body(h.Maintenance)},
		{PathStandby, http.MethodPost, operators, orderLimit, CodeRefused, body(h.Standby)},
		{PathFence, http.MethodPost, operators, orderLimit, CodeRefused, body(h.Fence)},
	} {
		mux.Handle(rt.path, s.wrap(rt, who))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c, _ := who(r)
		s.refuse(w, r, c, &Error{Code: CodeBadRequest, Message: fmt.Sprintf("there is no %s", r.URL.Path)})
	})
	return mux
}

// body decodes the request's JSON for f.
func body[Req, Reply any](f func(context.Context, Caller, Req) (Reply, error)) func(context.Context, Caller, *http.Request, []byte) (any, error) {
	return func(ctx context.Context, c Caller, _ *http.Request, raw []byte) (any, error) {
		var req Req
		if err := json.Unmarshal(raw, &req); err != nil {
			return nil, &Error{Code: CodeBadRequest, Message: "the body is not the JSON that belongs here: " + err.Error()}
		}
		return f(ctx, c, req)
	}
}

// said adapts a handler that answers with nothing but an error.
func said[Req any](f func(context.Context, Caller, Req) error) func(context.Context, Caller, Req) (nothing, error) {
	return func(ctx context.Context, c Caller, req Req) (nothing, error) { return nothing{}, f(ctx, c, req) }
}

// wrap puts identification, access, size and time limits around a route.
func (s *Server) wrap(rt route, who identify) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := who(r)
		if err == nil {
			err = s.may(c, rt.need)
		}
		if err != nil {
			s.refuse(w, r, c, named(err, CodeForbidden))
			return
		}
		if r.Method != rt.method {
			s.refuse(w, r, c, &Error{Code: CodeBadRequest, Message: fmt.Sprintf("%s takes %s, not %s", rt.path, rt.method, r.Method)})
			return
		}
		raw, refusal := read(w, r)
		if refusal != nil {
			s.refuse(w, r, c, refusal)
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(rt.limit + quickLimit))
		ctx, cancel := context.WithTimeout(r.Context(), rt.limit)
		defer cancel()
		reply, err := rt.answer(ctx, c, r, raw)
		if err != nil {
			s.fail(ctx, w, r, c, named(err, rt.fallback))
			return
		}
		if answers, ok := reply.(stream); ok {
			answers(ctx, w)
			return
		}
		send(w, http.StatusOK, reply)
	})
}

// stream is a reply that is written as it comes.
type stream func(ctx context.Context, w http.ResponseWriter)

// read takes the body in, within its limits of size and time.
func read(w http.ResponseWriter, r *http.Request) ([]byte, *Error) {
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyTimeout))
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	// Cleared at once: a deadline that passes while the handler works would end
	// the request's context.
	_ = deadline.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the body is larger than %d bytes", MaxRequest)}
	case err != nil:
		return nil, &Error{Code: CodeBadRequest, Message: "the body could not be read: " + err.Error()}
	}
	return raw, nil
}

// named turns any error into one for the wire.
func named(err error, fallback string) *Error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{Code: e.Code, Message: err.Error()} // with the words wrapped around it
	}
	return &Error{Code: fallback, Message: err.Error()}
}

// fail answers with an error; refusals of strangers and replays are logged.
func (s *Server) fail(ctx context.Context, w http.ResponseWriter, r *http.Request, c Caller, e *Error) {
	switch e.Code {
	case CodeForbidden, CodeReplayed, CodeBadRequest:
		s.refuse(w, r, c, e)
		return
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Code = CodeTimeout
	}
	send(w, statusOf(e.Code), e)
}

// refuse logs and answers.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, c Caller, e *Error) {
	s.log.warn("refused a request", "remote", c.Remote, "peer", c.Name, "role", c.Role, "path", r.URL.Path, "code", e.Code, "reason", e.Message)
	if e.Code == CodeTooLarge {
		w.Header().Set("Connection", "close")
	}
	send(w, statusOf(e.Code), e)
}

func send(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"code":"failed","message":"the reply cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // a caller that went away needs no answer
}

func (s *Server) beat(ctx context.Context, c Caller, b Beat) (Beat, error) {
	if err := s.beats.admit(c.Name, b); err != nil {
		return Beat{}, err
	}
	return s.handler.Beat(ctx, c, b)
}

// reboot admits requests in the name of the caller's own reigns, and a person's.
func (s *Server) reboot(ctx context.Context, c Caller, o RebootOrder) error {
	if !o.Try && !o.ByHand {
		if err := s.owns(c, o.Epoch); err != nil {
			return err
		}
	}
	return s.handler.Reboot(ctx, c, o)
}

func (s *Server) votes(_ context.Context, c Caller, votes []ballot.Vote) (any, error) {
	if len(votes) > ballot.Max {
		return nil, &Error{Code: CodeTooLarge, Message: fmt.Sprintf("%d votes in one request; at most %d are taken", len(votes), ballot.Max)}
	}
	for _, v := range votes {
		if err := s.owns(c, v.Epoch()); err != nil {
			return nil, err
		}
	}
	return stream(func(ctx context.Context, w http.ResponseWriter) {
		// What is missing when the caller or the time is gone, the caller sees.
		_ = ballot.Write(ctx, w, http.NewResponseController(w).Flush, votes, counter{s.handler, c})
	}), nil
}

// counter takes the votes of one caller.
type counter struct {
	handler Handler
	caller  Caller
}

func (k counter) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	return k.handler.Votes(ctx, k.caller, votes, answer)
}

func (s *Server) status(ctx context.Context, c Caller, _ *http.Request, _ []byte) (any, error) {
	return s.handler.Status(ctx, c)
}

func (s *Server) events(ctx context.Context, c Caller, r *http.Request, _ []byte) (any, error) {
	since, err := number(r, "since")
	if err != nil {
		return nil, err
	}
	wait, err := number(r, "wait")
	if err != nil {
		return nil, err
	}
	limit := min(time.Duration(min(wait, uint64(waitMax.Milliseconds())))*time.Millisecond, waitMax) //nolint:gosec // bounded
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.handler.Events(ctx, c, since)
}

func number(r *http.Request, name string) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &Error{Code: CodeBadRequest, Message: fmt.Sprintf("%s=%q is not a number", name, text)}
	}
	return n, nil
}
