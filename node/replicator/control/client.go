package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"gemel/node/arbiter/ballot"
)

// ErrNoReplicator is wrapped by errors of a Client when the replicator does not
// answer at all.
var ErrNoReplicator = errors.New("the replicator does not answer")

// Bounds on calls, besides the caller's context.
const (
	callTimeout = 5 * time.Second
	// slowTimeout is for calls that flush, attach or detach.
	slowTimeout = 60 * time.Second
)

// Client talks to the replicator of this node. Its methods return an *Error
// when the replicator refused, and wrap ErrNoReplicator when it was not
// reached. It may be used from many goroutines.
type Client struct {
	http *http.Client
	path string
}

// NewClient returns a client for the unix socket at path. Nothing is opened.
func NewClient(path string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		MaxIdleConnsPerHost: 16,
	}
	return &Client{http: &http.Client{Transport: transport}, path: path}
}

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// State returns all volumes.
func (c *Client) State(ctx context.Context) ([]VolumeState, error) {
	return get[[]VolumeState](ctx, c, PathState, callTimeout)
}

// StateOf returns one volume; none when the replicator does not know it.
func (c *Client) StateOf(ctx context.Context, volume string) ([]VolumeState, error) {
	return get[[]VolumeState](ctx, c, PathState+"?volume="+url.QueryEscape(volume), callTimeout)
}

// Watch returns the volumes that changed after version since of a run once there
// are any, or after wait; with since zero, or of another run, all at once.
func (c *Client) Watch(ctx context.Context, run, since uint64, wait time.Duration) (Changes, error) {
	path := fmt.Sprintf("%s?run=%d&since=%d&wait=%d", PathWatch, run, since, wait.Milliseconds())
	return get[Changes](ctx, c, path, wait+callTimeout)
}

// Create makes a new replica.
func (c *Client) Create(ctx context.Context, q CreateRequest) error {
	_, err := post[struct{}](ctx, c, PathCreate, q, slowTimeout)
	return err
}

// Promote makes the replica Primary and returns its block device.
func (c *Client) Promote(ctx context.Context, q PromoteRequest) (PromoteReply, error) {
	return post[PromoteReply](ctx, c, PathPromote, q, slowTimeout)
}

// Chosen tells which set 2 of 3 accepted.
func (c *Client) Chosen(ctx context.Context, q ChosenRequest) error {
	_, err := post[struct{}](ctx, c, PathChosen, q, callTimeout)
	return err
}

// Lease moves the end of the lease.
func (c *Client) Lease(ctx context.Context, q LeaseRequest) error {
	_, err := post[struct{}](ctx, c, PathLease, q, callTimeout)
	return err
}

// Leases moves the ends of many leases; the replies are in the order of q.
func (c *Client) Leases(ctx context.Context, q []LeaseRequest) ([]LeaseReply, error) {
	replies, err := post[[]LeaseReply](ctx, c, PathLeases, q, callTimeout)
	if err == nil && len(replies) != len(q) {
		err = fmt.Errorf("replicator %s: %d replies to %d leases", PathLeases, len(replies), len(q))
	}
	return replies, err
}

// Demote makes the replica Secondary.
func (c *Client) Demote(ctx context.Context, q DemoteRequest) error {
	_, err := post[struct{}](ctx, c, PathDemote, q, slowTimeout)
	return err
}

// Connect lets a StandAlone volume try again.
func (c *Client) Connect(ctx context.Context, q ConnectRequest) error {
	_, err := post[struct{}](ctx, c, PathConnect, q, callTimeout)
	return err
}

// Verify starts, holds or ends a verify.
func (c *Client) Verify(ctx context.Context, q VerifyRequest) error {
	_, err := post[struct{}](ctx, c, PathVerify, q, callTimeout)
	return err
}

// Protocol changes a volume's protocol until the replicator restarts.
func (c *Client) Protocol(ctx context.Context, q ProtocolRequest) error {
	_, err := post[struct{}](ctx, c, PathProtocol, q, callTimeout)
	return err
}

// Outdate marks the replica as out of date by hand, or takes that back.
func (c *Client) Outdate(ctx context.Context, q OutdateRequest) error {
	_, err := post[struct{}](ctx, c, PathOutdate, q, slowTimeout)
	return err
}

// GiveUp lets the replica be overwritten by the peer's.
func (c *Client) GiveUp(ctx context.Context, q GiveUpRequest) error {
	_, err := post[struct{}](ctx, c, PathGiveUp, q, slowTimeout)
	return err
}

// Resize makes the volume larger; it returns once that is under way.
func (c *Client) Resize(ctx context.Context, q GrowRequest) error {
	_, err := post[struct{}](ctx, c, PathResize, q, slowTimeout)
	return err
}

// Resync pauses or resumes a resync, or changes its limits.
func (c *Client) Resync(ctx context.Context, q ResyncRequest) error {
	_, err := post[struct{}](ctx, c, PathResync, q, callTimeout)
	return err
}

// Votes asks this node's registers for many votes; answers come one by one.
func (c *Client) Votes(ctx context.Context, all []ballot.Vote, answer ballot.Answer) error {
	body, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("replicator %s: %w", PathVotes, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := c.request(ctx, http.MethodPost, PathVotes, body)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if err := ballot.Read(r.Body, len(all), answer); err != nil {
		return fmt.Errorf("replicator %s: %w", PathVotes, err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 64)) // its end, so that the connection can be used again
	return nil
}

func get[A any](ctx context.Context, c *Client, path string, limit time.Duration) (A, error) {
	return call[A](ctx, c, http.MethodGet, path, nil, limit)
}

func post[A any](ctx context.Context, c *Client, path string, q any, limit time.Duration) (A, error) {
	body, err := json.Marshal(q)
	if err != nil {
		var none A
		return none, fmt.Errorf("replicator %s: %w", path, err)
	}
	return call[A](ctx, c, http.MethodPost, path, body, limit)
}

func call[A any](ctx context.Context, c *Client, method, path string, body []byte, limit time.Duration) (answer A, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := c.request(ctx, method, path, body)
	if err != nil {
		return answer, err
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("replicator %s: read reply: %w", path, err)
	}
	return answer, nil
}

// request sends one request and returns a reply whose body is still to be read.
func (c *Client) request(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://replicator"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("replicator %s: %w", path, err)
	}
	r, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("replicator %s: %w on %s: %w", path, ErrNoReplicator, c.path, err)
	}
	if r.StatusCode != http.StatusOK {
		defer r.Body.Close()
		return nil, readError(path, r)
	}
	return r, nil
}
