package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gemel/node/identity"
)

// Options of a Server.
type Options struct {
	Identity *identity.Identity
	Nodes    []string // names of the data nodes in the order of their numbers
	Log      *slog.Logger
	// LogPerSecond limits the refusals that are logged; 0 means 5. The number
	// left out is logged with the next.
	LogPerSecond int
}

// Server answers for one daemon, over the network and on a unix socket.
type Server struct {
	handler Handler
	self    string
	nodes   []string
	id      *identity.Identity
	log     *throttle
	beats   *beats
}

// Time limits. A route's own limit bounds how long its handler may take.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	quickLimit    = 5 * time.Second
	orderLimit    = 10 * time.Minute
	waitMax       = 30 * time.Second
	closeTimeout  = 2 * time.Second
)

// NewServer returns a Server for h. It does nothing until Serve or ServeUnix.
func NewServer(h Handler, o Options) *Server {
	return &Server{handler: h, self: o.Identity.Name, nodes: o.Nodes, id: o.Identity,
		log: newThrottle(o.Log, o.LogPerSecond), beats: newBeats()}
}

// Run serves on the TCP address ("host:port", or ":port" for every address of
// the box) and on the unix socket until ctx ends, or until one of them fails.
// When it returns, both are closed and every handler is done.
func (s *Server) Run(ctx context.Context, address, socket string) error {
	network, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	unix, err := ListenUnix(socket)
	if err != nil {
		return errors.Join(err, network.Close())
	}
	return s.Serve(ctx, network, unix)
}

// Serve is Run with sockets that are open already; it closes them. Either may be nil.
func (s *Server) Serve(ctx context.Context, network, unix net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	failed := make(chan error, 2)
	serve := func(l net.Listener, h http.Handler) {
		defer all.Done()
		if err := s.serve(ctx, l, h); err != nil {
			failed <- fmt.Errorf("serve on %s: %w", l.Addr(), err)
			cancel() // half a server would look alive
		}
	}
	if network != nil {
		all.Add(1)
		go serve(tls.NewListener(network, s.id.ServerTLS(s.known)), s.routes(remoteCaller))
	}
	if unix != nil {
		all.Add(1)
		go serve(unix, s.routes(localCaller))
	}
	<-ctx.Done()
	all.Wait()
	close(failed)
	return <-failed
}

// known admits every data node and witness by name, and admins by their
// certificate alone.
func (s *Server) known(p identity.Peer) bool {
	if p.Role == identity.RoleNode {
		return identity.Nodes(s.nodes...)(p)
	}
	return true
}

// serve answers on one socket until ctx ends.
func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(s.log, "", 0),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only: one request, one connection, one link
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		limit, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if server.Shutdown(limit) != nil {
			_ = server.Close() // handlers that outlive the limit lose their connection
		}
	}()
	err := server.Serve(l)
	if ctx.Err() != nil {
		<-stopped
		return nil
	}
	return err
}

// ListenUnix opens the socket at path for root alone. A socket left behind by a
// dead process is replaced; one that answers is left alone and is an error.
func ListenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // like all of /run
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %s: another process answers there; stop it first", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

func localCaller(*http.Request) (Caller, error) {
	return Caller{Local: true, Remote: "unix socket"}, nil
}

func remoteCaller(r *http.Request) (Caller, error) {
	if r.TLS == nil {
		return Caller{Remote: r.RemoteAddr}, forbidden("no certificate")
	}
	p, err := identity.PeerOf(*r.TLS)
	return Caller{Peer: p, Remote: r.RemoteAddr}, err
}

// throttle logs refusals, at most so many per second.
type throttle struct {
	log   *slog.Logger
	limit int
	now   func() time.Time

	mu      sync.Mutex
	second  time.Time
	written int
	dropped int
}

func newThrottle(l *slog.Logger, limit int) *throttle {
	if l == nil {
		l = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if limit <= 0 {
		limit = 5
	}
	return &throttle{log: l, limit: limit, now: time.Now}
}

func (t *throttle) warn(msg string, args ...any) {
	t.mu.Lock()
	now := t.now()
	if now.Sub(t.second) >= time.Second || now.Before(t.second) {
		t.second, t.written = now, 0
	}
	if t.written >= t.limit {
		t.dropped++
		t.mu.Unlock()
		return
	}
	t.written++
	dropped := t.dropped
	t.dropped = 0
	t.mu.Unlock()
	if dropped > 0 {
		args = append(args, "not_logged_before", dropped)
	}
	t.log.Warn(msg, args...)
}

// Write takes what net/http has to say, such as a refused TLS handshake.
func (t *throttle) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, "http: TLS handshake error from "); ok {
		remote, why, _ := strings.Cut(rest, ": ")
		if why == "EOF" || strings.HasSuffix(why, "connection reset by peer") {
			return len(line), nil // a port scan, or a peer that died while it called: nobody was refused
		}
		t.warn("refused a connection", "remote", remote, "reason", why)
		return len(line), nil
	}
	t.warn("connection trouble", "reason", text)
	return len(line), nil
}
