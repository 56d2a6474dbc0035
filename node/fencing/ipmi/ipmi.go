// Package ipmi switches a box through IPMI 2.0 over LAN (lanplus), by the go-ipmi library. It opens a session for every
// request: controllers have few, and forget them when they restart. It knows neither sensors nor IPMI 1.5, whose
// passwords cross the network in the open.
package ipmi

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"

	"gemel/node/fencing"
)

// Port is where controllers listen, UDP.
const Port = 623

// answerWait bounds one answer. Controllers take up to a second; the library repeats a question that got none.
const answerWait = 2 * time.Second

// Options say where the controller is and how to log in.
type Options struct {
	Host     string // IP address
	Port     int    // zero: Port
	User     string // at most 16 bytes
	Password string // at most 20 bytes
}

// Device is the box behind one controller.
type Device struct{ opt Options }

// New checks the options; it does not speak to the controller.
func New(opt Options) (*Device, error) {
	if opt.Host == "" {
		return nil, fmt.Errorf("ipmi: the controller's address is missing")
	}
	if opt.Port == 0 {
		opt.Port = Port
	}
	if len(opt.User) > 16 || len(opt.Password) > 20 {
		return nil, fmt.Errorf("ipmi: IPMI 2.0 allows 16 bytes for the user and 20 for the password")
	}
	return &Device{opt: opt}, nil
}

// Name returns "ipmi" and the controller's address.
func (d *Device) Name() string {
	return "ipmi " + net.JoinHostPort(d.opt.Host, strconv.Itoa(d.opt.Port))
}

// Status asks for the chassis' power.
func (d *Device) Status(ctx context.Context) (fencing.Power, error) {
	power := fencing.Unknown
	err := d.with(ctx, func(c *client.Client) error {
		status, err := c.GetChassisStatus(ctx)
		switch {
		case err != nil:
			return err
		case status.PowerIsOn:
			power = fencing.On
		default:
			power = fencing.Off
		}
		return nil
	})
	if err != nil {
		return fencing.Unknown, fmt.Errorf("read the power state: %w", err)
	}
	return power, nil
}

// PowerOff orders "power down", which cuts the power without a word to the operating system.
func (d *Device) PowerOff(ctx context.Context) error {
	return d.control(ctx, chassis.ChassisControlPowerDown, "power down")
}

// PowerOn orders "power up".
func (d *Device) PowerOn(ctx context.Context) error {
	return d.control(ctx, chassis.ChassisControlPowerUp, "power up")
}

func (d *Device) control(ctx context.Context, order chassis.ChassisControl, name string) error {
	err := d.with(ctx, func(c *client.Client) error {
		_, err := c.ChassisControl(ctx, order)
		return err
	})
	if err != nil {
		return fmt.Errorf("order %s: %w", name, err)
	}
	return nil
}

// with opens a session, does do, and closes it.
func (d *Device) with(ctx context.Context, do func(*client.Client) error) error {
	c, err := client.NewClient(d.opt.Host, d.opt.Port, d.opt.User, d.opt.Password)
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	c.WithTimeout(answerWait)
	if err := c.Connect(ctx); err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	err = do(c)
	// The session's end is a courtesy; what was asked is answered.
	_ = c.Close(ctx)
	return err
}
