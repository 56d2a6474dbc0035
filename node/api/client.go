package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"gemel/node/arbiter/ballot"
	"gemel/node/replicator/control"
)

// Target is where a Client calls.
type Target struct {
	Address string      // "ip:port"
	Local   string      // IP address to call from: binds the call to one link; empty: the kernel chooses
	TLS     *tls.Config // from identity.ClientTLS
	// Timeout of a quick request (beat, vote, hand-over, status); 0 means 1 s.
	// Orders take as long as their context allows.
	Timeout time.Duration
}

// Client calls one daemon over one link, and keeps its connections. It is safe
// for use by many goroutines. Errors: *Error is the daemon's own answer;
// anything that wraps ErrUnreachable means that no answer came.
type Client struct {
	base    string
	name    string
	http    *http.Client
	timeout time.Duration
}

// NewClient returns a Client that calls over the network.
func NewClient(t Target) *Client {
	timeout := t.Timeout
	if timeout <= 0 {
		timeout = time.Second
	}
	dialer := &net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 3}}
	if ip := net.ParseIP(t.Local); ip != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
	}
	tr := transport(timeout)
	tr.DialContext = dialer.DialContext
	tr.TLSClientConfig = t.TLS
	tr.TLSHandshakeTimeout = timeout
	return &Client{base: "https://" + t.Address, name: t.Address, http: &http.Client{Transport: tr, CheckRedirect: noRedirect}, timeout: timeout}
}

// NewUnixClient returns a Client for a daemon of this box.
func NewUnixClient(socket string) *Client {
	const timeout = 5 * time.Second
	tr := transport(timeout)
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: timeout}).DialContext(ctx, "unix", socket)
	}
	return &Client{base: "http://local", name: socket, http: &http.Client{Transport: tr, CheckRedirect: noRedirect}, timeout: timeout}
}

func transport(timeout time.Duration) *http.Transport {
	return &http.Transport{
		MaxIdleConnsPerHost:   16,              // as many requests as an agent sends at once
		IdleConnTimeout:       idleTimeout / 2, // we close first, so that a request never meets a closing server
		ExpectContinueTimeout: timeout,
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Name returns the address or socket that the Client calls.
func (c *Client) Name() string { return c.name }

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Beat sends a heartbeat and returns the other side's.
func (c *Client) Beat(ctx context.Context, b Beat) (Beat, error) {
	return quick[Beat](ctx, c, PathBeat, b)
}

// Votes asks for many votes at once; answers come one by one. Above ballot.Max
// they are refused.
func (c *Client) Votes(ctx context.Context, votes []ballot.Vote, answer ballot.Answer) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.request(ctx, http.MethodPost, PathVotes, votes)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		_, err := finish[nothing](c, resp, PathVotes)
		return err
	}
	if err := ballot.Read(resp.Body, len(votes), answer); err != nil {
		return unreachable(c.name, err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64)) // its end, so that the connection can be used again
	return nil
}

// HandOver tells the peer that a volume is free for it.
func (c *Client) HandOver(ctx context.Context, h HandOver) error {
	_, err := quick[nothing](ctx, c, PathHandOver, h)
	return err
}

// Reboot asks the peer to reboot its box. No error means that it says so, no more.
func (c *Client) Reboot(ctx context.Context, o RebootOrder) error {
	_, err := quick[nothing](ctx, c, PathReboot, o)
	return err
}

// Clients tells the peer who is connected to a volume's addresses.
func (c *Client) Clients(ctx context.Context, m Clients) (ClientsTaken, error) {
	return quick[ClientsTaken](ctx, c, PathClients, m)
}

// Status returns the daemon's whole view.
func (c *Client) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return call[Status](ctx, c, http.MethodGet, PathStatus, nil)
}

// Events returns the events numbered since and above, and waits up to wait
// (at most 30 s) when there are none.
func (c *Client) Events(ctx context.Context, since uint64, wait time.Duration) (EventPage, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+c.timeout)
	defer cancel()
	path := PathEvents + "?since=" + strconv.FormatUint(since, 10) + "&wait=" + strconv.FormatInt(wait.Milliseconds(), 10)
	return call[EventPage](ctx, c, http.MethodGet, path, nil)
}

// Switchover gives a volume to the other node and returns when that is done.
func (c *Client) Switchover(ctx context.Context, o Order) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathSwitchover, o)
	return err
}

// Grab makes the called node Primary by an operator's word.
func (c *Client) Grab(ctx context.Context, o Order) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathGrab, o)
	return err
}

// CreateVolume makes a new replica on the called node's backing device.
func (c *Client) CreateVolume(ctx context.Context, req control.CreateRequest) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathCreate, req)
	return err
}

// Connect asks a StandAlone volume to try again.
func (c *Client) Connect(ctx context.Context, req control.ConnectRequest) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathConnect, req)
	return err
}

// Protocol changes a volume's protocol.
func (c *Client) Protocol(ctx context.Context, req control.ProtocolRequest) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathProtocol, req)
	return err
}

// Outdate marks the node's replica as out of date by hand, or takes that back.
func (c *Client) Outdate(ctx context.Context, req control.OutdateRequest) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathOutdate, req)
	return err
}

// GiveUp lets the node's replica be overwritten by the peer's.
func (c *Client) GiveUp(ctx context.Context, req control.GiveUpRequest) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathGiveUp, req)
	return err
}

// Fence looks at or switches the power of the called node's peer.
func (c *Client) Fence(ctx context.Context, o FenceOrder) (Fencing, error) {
	return call[Fencing](ctx, c, http.MethodPost, PathFence, o)
}

// Verify starts, holds or ends a verify on the Primary.
func (c *Client) Verify(ctx context.Context, req control.VerifyRequest) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathVerify, req)
	return err
}

// Resize has the Primary make a volume larger; it returns once that is under way.
func (c *Client) Resize(ctx context.Context, req control.GrowRequest) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathResize, req)
	return err
}

// Resync pauses or resumes the Primary's resync, or changes its limits.
func (c *Client) Resync(ctx context.Context, req control.ResyncRequest) error {
	_, err := call[nothing](ctx, c, http.MethodPost, PathResync, req)
	return err
}

func quick[Reply any](ctx context.Context, c *Client, path string, req any) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return call[Reply](ctx, c, http.MethodPost, path, req)
}

// call sends one request and decodes its reply.
func call[Reply any](ctx context.Context, c *Client, method, path string, req any) (Reply, error) {
	resp, err := c.request(ctx, method, path, req)
	if err != nil {
		var none Reply
		return none, err
	}
	defer func() { _ = resp.Body.Close() }()
	return finish[Reply](c, resp, path)
}

// request sends one request; the reply's body is the caller's to close.
func (c *Client) request(ctx context.Context, method, path string, req any) (*http.Response, error) {
	var content io.Reader
	if req != nil {
		raw, err := json.Marshal(req)
		if err != nil {
			return nil, fmt.Errorf("call %s: %w", path, err)
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", path, err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, unreachable(c.name, err)
	}
	return resp, nil
}

// finish reads a reply to its end.
func finish[Reply any](c *Client, resp *http.Response, path string) (Reply, error) {
	var reply Reply
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxReply+1))
	if err != nil {
		return reply, unreachable(c.name, err)
	}
	if len(raw) > MaxReply {
		return reply, fmt.Errorf("call %s at %s: the reply is larger than %d bytes", path, c.name, MaxReply)
	}
	return decode[Reply](resp, raw, c.name+path)
}

func decode[Reply any](resp *http.Response, raw []byte, what string) (Reply, error) {
	var reply Reply
	if resp.StatusCode != http.StatusOK {
		e := &Error{}
		if json.Unmarshal(raw, e) != nil || e.Code == "" {
			return reply, &Error{Code: CodeFailed, Message: fmt.Sprintf("%s answered %s", what, resp.Status)}
		}
		return reply, e
	}
	if err := json.Unmarshal(raw, &reply); err != nil {
		return reply, fmt.Errorf("reply of %s: %w", what, err)
	}
	return reply, nil
}

// unreachable takes the noise of net/http off an error.
func unreachable(name string, err error) error {
	var op interface{ Unwrap() error }
	if errors.As(err, &op) && op.Unwrap() != nil {
		err = op.Unwrap()
	}
	return fmt.Errorf("%w from %s: %w", ErrUnreachable, name, err)
}
