package fencing

import (
	"errors"
	"testing"
)

func TestNoneProvesNothing(t *testing.T) {
	var d Driver = None{}
	proof, err := d.Off(t.Context())
	if !errors.Is(err, ErrNone) || proof.Verified() {
		t.Errorf("off: %+v, %v; want no proof and ErrNone", proof, err)
	}
	if p, err := d.Status(t.Context()); p != Unknown || err != nil {
		t.Errorf("status: %s, %v; want unknown", p, err)
	}
}
