package nfs3_test

import (
	"bytes"
	"testing"
	"time"

	"gemel/lab/checker/nfs3"
	"gemel/lab/checker/nfs3/nfs3test"
)

func dial(t *testing.T) (*nfs3test.Server, *nfs3.Client, nfs3.Handle) {
	t.Helper()
	srv := nfs3test.New("/srv/data")
	if _, err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	root, err := nfs3.Mount(t.Context(), srv.Addr(), "/srv/data", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c, err := nfs3.Dial(t.Context(), srv.Addr(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return srv, c, root
}

func TestWrittenBytesAreReadBack(t *testing.T) {
	_, c, root := dial(t)
	h, err := c.Create(root, "odd", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("five!")
	if err := c.Write(h, 3, data); err != nil {
		t.Fatal(err)
	}
	got, err := c.Read(h, 0, 100)
	if err != nil || !bytes.Equal(got, append(make([]byte, 3), data...)) {
		t.Errorf("read %q, %v", got, err)
	}
	if n, err := c.Size(h); err != nil || n != 8 {
		t.Errorf("size %d, %v", n, err)
	}
	if err := c.Commit(h); err != nil {
		t.Error(err)
	}
	if err := c.Null(); err != nil {
		t.Error(err)
	}
}

func TestAnswersAndSilenceAreToldApart(t *testing.T) {
	srv, c, root := dial(t)
	_, err := c.Lookup(root, "absent")
	if s, answered := nfs3.Refusal(err); !answered || s != nfs3.StatusNoEnt {
		t.Errorf("lookup of an absent name: %v", err)
	}
	h, err := c.Create(root, "f", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	srv.OnWrite(func(int) nfs3test.Verdict { return nfs3test.Verdict{Silent: true} })
	c.SetTimeout(20 * time.Millisecond)
	err = c.Write(h, 0, []byte("x"))
	if _, answered := nfs3.Refusal(err); err == nil || answered {
		t.Errorf("write to a silent server: %v", err)
	}
}

func TestDecoderStopsAtTheEnd(t *testing.T) {
	tests := map[string][]byte{
		"empty":                 {},
		"length without bytes":  {0, 0, 0, 9, 1},
		"length beyond all":     {0xff, 0xff, 0xff, 0xff},
		"bytes without padding": {0, 0, 0, 1, 7},
	}
	for name, in := range tests {
		d := nfs3.NewDecoder(in)
		d.Opaque()
		if d.Err() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
