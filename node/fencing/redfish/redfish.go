// Package redfish switches a box through its management controller's Redfish service (DMTF DSP0266), by the gofish
// library. It logs in for every request and keeps no session: controllers have few, and lose them at will. It does
// not read events or sensors.
package redfish

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/common"
	"github.com/stmcginnis/gofish/redfish"

	"gemel/node/fencing"
)

// Options say where the controller is and how to log in.
type Options struct {
	Endpoint string // "https://192.0.2.7"
	User     string
	Password string
	System   string // id of the system behind a controller that has several; empty: the only one
	// CA are certificates in PEM that the controller's must come from; empty: the system's store.
	CA []byte
	// Insecure takes any certificate. Controllers come with self-signed ones.
	Insecure bool
}

// Device is one system behind one controller.
type Device struct {
	opt    Options
	client *http.Client
}

// New checks the options; it does not speak to the controller.
func New(opt Options) (*Device, error) {
	if !strings.HasPrefix(opt.Endpoint, "https://") && !strings.HasPrefix(opt.Endpoint, "http://") {
		return nil, fmt.Errorf("redfish: %q is not the address of a service; write it like https://192.0.2.7", opt.Endpoint)
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: opt.Insecure} //nolint:gosec // the operator's choice
	if len(opt.CA) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(opt.CA) {
			return nil, errors.New("redfish: the CA file holds no certificate in PEM")
		}
	}
	transport := &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true}
	return &Device{opt: opt, client: &http.Client{Transport: transport}}, nil
}

// Name returns "redfish" and the controller's address.
func (d *Device) Name() string { return "redfish " + d.opt.Endpoint }

// Status reads PowerState. All but On and Off is Unknown: a box that is on its way is neither.
func (d *Device) Status(ctx context.Context) (power fencing.Power, err error) {
	err = d.with(ctx, func(s *redfish.ComputerSystem) error {
		power = powerOf(s.PowerState)
		return nil
	})
	if err != nil {
		return fencing.Unknown, fmt.Errorf("read the power state: %w", err)
	}
	return power, nil
}

func powerOf(state redfish.PowerState) fencing.Power {
	switch state {
	case redfish.OnPowerState:
		return fencing.On
	case redfish.OffPowerState:
		return fencing.Off
	default:
		return fencing.Unknown
	}
}

// PowerOff orders ForceOff.
func (d *Device) PowerOff(ctx context.Context) error { return d.reset(ctx, redfish.ForceOffResetType) }

// PowerOn orders On.
func (d *Device) PowerOn(ctx context.Context) error { return d.reset(ctx, redfish.OnResetType) }

func (d *Device) reset(ctx context.Context, kind redfish.ResetType) error {
	err := d.with(ctx, func(s *redfish.ComputerSystem) error { return s.Reset(kind) })
	if err != nil {
		return fmt.Errorf("order %s: %w", kind, err)
	}
	return nil
}

// with logs in, finds the system and does do.
func (d *Device) with(ctx context.Context, do func(*redfish.ComputerSystem) error) error {
	client, err := gofish.ConnectContext(ctx, gofish.ClientConfig{Endpoint: d.opt.Endpoint, Username: d.opt.User,
		Password: d.opt.Password, BasicAuth: true, HTTPClient: d.client})
	if err != nil {
		return d.explain(err)
	}
	defer client.Logout()
	systems, err := client.Service.Systems()
	if err != nil {
		return d.explain(err)
	}
	system, err := d.pick(systems)
	if err != nil {
		return err
	}
	return d.explain(do(system))
}

// pick never guesses: the wrong box of a chassis must not be shot.
func (d *Device) pick(systems []*redfish.ComputerSystem) (*redfish.ComputerSystem, error) {
	ids := make([]string, len(systems))
	for i, s := range systems {
		ids[i] = s.ID
	}
	switch i := slices.Index(ids, d.opt.System); {
	case i >= 0:
		return systems[i], nil
	case d.opt.System != "":
		return nil, fmt.Errorf("the controller has no system %q; it has %q", d.opt.System, ids)
	case len(systems) == 1:
		return systems[0], nil
	case len(systems) == 0:
		return nil, errors.New("the controller names no system")
	}
	return nil, fmt.Errorf("the controller has several systems, %q; name one with the key system", ids)
}

func (d *Device) explain(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w; give the controller's certificate with the key ca, or set insecure: true", err)
	}
	var answer *common.Error
	if errors.As(err, &answer) && answer.HTTPReturnedStatusCode != 0 {
		return fmt.Errorf("the controller answers %d: %s", answer.HTTPReturnedStatusCode, said(answer))
	}
	return err
}

// said is what the controller says in words; the rest of its answer is for programs.
func said(answer *common.Error) string {
	for _, more := range answer.ExtendedInfos {
		if more.Message != "" {
			return more.Message
		}
	}
	if answer.Message != "" {
		return answer.Message
	}
	return http.StatusText(answer.HTTPReturnedStatusCode)
}
