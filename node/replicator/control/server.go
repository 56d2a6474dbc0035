package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"gemel/node/arbiter/ballot"
)

// maxBody bounds a request's body in bytes.
const maxBody = 64 << 10

// maxWait bounds a watch.
const maxWait = time.Minute

// Stable codes of Error.
const (
	CodeInternal      = "internal"
	CodeBadRequest    = "bad-request"
	CodeUnknownVolume = "unknown-volume"
	CodeNotRunning    = "volume-not-running" // see the volume's Problem
	CodeRunning       = "volume-running"
	CodeDeviceInUse   = "device-in-use"
	CodeTooSmall      = "device-too-small"
	CodeOccupied      = "device-not-empty"
	CodeDevice        = "device-unusable"
	CodeRefused       = "refused"
)

// Error makes the body of a refusal an error, on both sides.
func (e *Error) Error() string { return e.Message }

// CodeOf returns the code inside err; CodeInternal when it has none.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Handler is what a Server serves. Errors that are, or wrap, an *Error reach
// the client with their code. Methods may be called from many goroutines.
type Handler interface {
	// State returns all configured volumes, and a channel that is closed at
	// the next change of any Seq.
	State() ([]VolumeState, <-chan struct{})
	Create(context.Context, CreateRequest) error
	Promote(context.Context, PromoteRequest) (PromoteReply, error)
	Chosen(context.Context, ChosenRequest) error
	Lease(context.Context, LeaseRequest) error
	Demote(context.Context, DemoteRequest) error
	Verify(context.Context, VerifyRequest) error
	Resync(context.Context, ResyncRequest) error
	Resize(context.Context, GrowRequest) error
	Connect(context.Context, ConnectRequest) error
	Protocol(context.Context, ProtocolRequest) error
	GiveUp(context.Context, GiveUpRequest) error
	Outdate(context.Context, OutdateRequest) error
	ballot.Caster
}

// Listen opens the unix socket at path for root alone. A socket left behind by
// a dead process is removed; one that answers is an error.
func Listen(path string) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s: another replicator answers there; stop it first", path)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("listen on %s: there is something that is not a socket; move it away", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove stale socket: %w", err)
		}
	}
	return listenPrivate(path)
}

// listenPrivate binds under another name, takes the permissions away, and then
// moves the socket into place, so that it is never open to others.
func listenPrivate(path string) (net.Listener, error) {
	hidden := path + ".new"
	_ = os.Remove(hidden) // of a start that was interrupted
	l, err := net.Listen("unix", hidden)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	err = os.Chmod(hidden, 0o600)
	if err == nil {
		err = os.Rename(hidden, path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(hidden)
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &unlinker{l, path}, nil
}

// unlinker removes the socket's name when the listener closes.
type unlinker struct {
	net.Listener
	path string
}

func (u *unlinker) Close() error {
	_ = os.Remove(u.path) // gone already is as good
	return u.Listener.Close()
}

// Serve answers requests on l until ctx ends; then running ones get a moment to
// finish. It closes l.
func Serve(ctx context.Context, l net.Listener, h Handler) error {
	server := &http.Server{
		Handler:           Mux(h),
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		end, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(end) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(l)
	if stop() {
		return fmt.Errorf("serve control socket: %w", err)
	}
	<-stopped
	return nil
}

// Mux returns the HTTP handler of all paths.
func Mux(h Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathState, func(w http.ResponseWriter, r *http.Request) {
		states, _ := h.State()
		reply(w, only(states, r.FormValue("volume")))
	})
	book := newLedger()
	mux.HandleFunc("GET "+PathWatch, func(w http.ResponseWriter, r *http.Request) { watch(w, r, h, book) })
	handle(mux, PathCreate, silent(h.Create))
	handle(mux, PathPromote, h.Promote)
	handle(mux, PathChosen, silent(h.Chosen))
	handle(mux, PathLease, silent(h.Lease))
	handle(mux, PathLeases, func(ctx context.Context, q []LeaseRequest) ([]LeaseReply, error) { return leases(ctx, h, q) })
	handle(mux, PathDemote, silent(h.Demote))
	handle(mux, PathConnect, silent(h.Connect))
	handle(mux, PathProtocol, silent(h.Protocol))
	handle(mux, PathVerify, silent(h.Verify))
	handle(mux, PathResync, silent(h.Resync))
	handle(mux, PathResize, silent(h.Resize))
	handle(mux, PathGiveUp, silent(h.GiveUp))
	handle(mux, PathOutdate, silent(h.Outdate))
	mux.HandleFunc("POST "+PathVotes, func(w http.ResponseWriter, r *http.Request) { votes(w, r, h) })
	return mux
}

// leases moves the ends of many leases; one that is refused stops no other.
func leases(ctx context.Context, h Handler, q []LeaseRequest) ([]LeaseReply, error) {
	replies := make([]LeaseReply, len(q))
	for i := range q {
		if err := h.Lease(ctx, q[i]); err != nil {
			replies[i].Error = err.Error()
		}
	}
	return replies, nil
}

// votes hands many votes to their registers and answers as the answers come.
func votes(w http.ResponseWriter, r *http.Request, c ballot.Caster) {
	var all []ballot.Vote
	if err := decode(w, r, &all); err != nil {
		refuse(w, err)
		return
	}
	_ = ballot.Write(r.Context(), w, http.NewResponseController(w).Flush, all, c) // the client sees what is missing
}

// silent gives a method without reply an empty one.
func silent[Q any](f func(context.Context, Q) error) func(context.Context, Q) (struct{}, error) {
	return func(ctx context.Context, q Q) (struct{}, error) { return struct{}{}, f(ctx, q) }
}

// handle registers a POST of JSON that f answers.
func handle[Q, A any](mux *http.ServeMux, path string, f func(context.Context, Q) (A, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := decode(w, r, &q); err != nil {
			refuse(w, err)
			return
		}
		answer, err := f(r.Context(), q)
		if err != nil {
			refuse(w, err)
			return
		}
		reply(w, answer)
	})
}

// decode reads a request's JSON.
func decode(w http.ResponseWriter, r *http.Request, q any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(q); err != nil {
		return &Error{Code: CodeBadRequest, Message: fmt.Sprintf("request to %s not understood: %v", r.URL.Path, err)}
	}
	return nil
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

func refuse(w http.ResponseWriter, err error) {
	body := Error{Message: err.Error(), Code: CodeOf(err)}
	status := http.StatusConflict
	switch body.Code {
	case CodeInternal:
		status = http.StatusInternalServerError
	case CodeBadRequest:
		status = http.StatusBadRequest
	case CodeUnknownVolume:
		status = http.StatusNotFound
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// readError turns a reply that is not 200 into an *Error.
func readError(path string, r *http.Response) error {
	e := &Error{}
	text, _ := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if json.Unmarshal(text, e) != nil || e.Code == "" {
		return fmt.Errorf("replicator %s: %s: %q", path, r.Status, text)
	}
	return e
}
