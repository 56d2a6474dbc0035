package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	"gemel/lab/drive"
	"gemel/lab/drive/faults"
)

// ErrNoDrive says that nobody serves the drive.
var ErrNoDrive = errors.New("no such drive is running")

// Client gives orders to the drive of a directory. It holds no connection.
type Client struct{ dir string }

// NewClient returns the client of the drive in dir, whether it runs or not.
func NewClient(dir string) *Client { return &Client{dir: dir} }

// Status asks for the drive's state; ErrNoDrive when nobody answers.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, orderStatus, struct{}{})
}

// Fault makes the drive worse and returns the fault with its number.
func (c *Client) Fault(ctx context.Context, f faults.Fault) (faults.Fault, error) {
	return call[faults.Fault](ctx, c, orderFault, f)
}

// Heal takes one fault away, or all of them if id is 0, and returns what it took.
func (c *Client) Heal(ctx context.Context, id int) ([]faults.Fault, error) {
	return call[[]faults.Fault](ctx, c, orderHeal, healOrder{ID: id})
}

// CutPower takes the drive's power and tells what is lost.
func (c *Client) CutPower(ctx context.Context, cut drive.Cut) (drive.Loss, error) {
	return call[drive.Loss](ctx, c, orderPowerCut, cut)
}

// PowerOn gives the power back.
func (c *Client) PowerOn(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, orderPowerOn, struct{}{})
}

// Reset drops the requests under way; nothing that is cached is lost.
func (c *Client) Reset(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, orderReset, struct{}{})
}

// Swap puts another image in the place of the one in use; a missing one is made blank.
func (c *Client) Swap(ctx context.Context, image string) (Status, error) {
	return call[Status](ctx, c, orderSwap, swapOrder{Image: image})
}

// Stop asks the drive to write its cache, take its device away and end.
func (c *Client) Stop(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, orderStop, struct{}{})
}

func call[Out any](ctx context.Context, c *Client, path string, in any) (Out, error) {
	var out Out
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", SocketPath(c.dir))
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://drive"+path, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return out, fmt.Errorf("drive in %s does not answer: %w", c.dir, ctx.Err())
		}
		return out, fmt.Errorf("drive in %s: %w (%w)", c.dir, ErrNoDrive, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		refused := answer{}
		_ = json.NewDecoder(response.Body).Decode(&refused)
		return out, fmt.Errorf("drive in %s refuses: %s", c.dir, refused.Error)
	}
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("drive in %s: its answer broke off: %w", c.dir, err)
	}
	return out, nil
}
