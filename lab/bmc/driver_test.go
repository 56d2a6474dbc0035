package bmc

import (
	"encoding/pem"
	"strings"
	"testing"

	"gemel/node/fencing"
	"gemel/node/fencing/redfish"
)

// The production driver must find its way here as it does on real boxes.
func TestProductionDriver(t *testing.T) {
	b := newBench(t)
	device, err := redfish.New(redfish.Options{
		Endpoint: b.server.URL, User: "admin", Password: "secret",
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.server.Certificate().Raw}),
	})
	if err != nil {
		t.Fatal(err)
	}
	state := func(want fencing.Power) {
		t.Helper()
		if got, err := device.Status(t.Context()); err != nil || got != want {
			t.Errorf("power is %s (%v), want %s", got, err, want)
		}
	}
	state(fencing.On)
	if err := device.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	state(fencing.Off)
	b.really(false)
	if err := device.PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	state(fencing.On)
	b.faults = Faults{Fail: true}
	switch err := device.PowerOff(t.Context()); {
	case err == nil:
		t.Error("a power control that fails was believed")
	case !strings.HasSuffix(err.Error(), "500: the power control is out of order"):
		t.Errorf("what people read: %v", err)
	}
	state(fencing.On)
}
