package replicator

import (
	"errors"
	"fmt"

	"gemel/node/replicator/control"
	"gemel/node/replicator/disk"
	"gemel/node/replicator/meta"
)

// create makes new metadata and runs the volume. A refusal writes nothing and
// leaves the volume as it was.
func (s *slot) create(force, keep bool) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if keep && s.conf.Apart() == "" {
		return &control.Error{Code: control.CodeOccupied, Message: fmt.Sprintf("volume %s: --keep-data needs the metadata apart: "+
			"at the end of %s it would overwrite data; set `metadata` of the volume to a device or file of its own", s.conf.Name, s.conf.Device)}
	}
	if err := s.mayCreate(force); err != nil {
		return err
	}
	s.halt("the volume is being created", false)
	d, err := s.openDisks()
	if err != nil {
		s.fail(err, true)
		return named(err)
	}
	var store *meta.Store
	if d.apart == nil {
		store, err = meta.Create(d.data, s.params(), force)
	} else {
		store, err = meta.CreateApart(d.both(), s.params(), force, keep)
	}
	if err != nil {
		s.closeDisks(d)
		s.open() // whatever is there tells its own problem
		return named(fmt.Errorf("volume %s on %s: %w", s.conf.Name, s.conf.Device, err))
	}
	s.d.log.Info("metadata was created", "volume", s.conf.Name, "device", s.conf.Device, "metadata", s.conf.Metadata, "forced", force, "data kept", keep)
	s.run(d, store)
	_, err = s.running()
	return err
}

// mayCreate refuses to throw away a replica that works, unless forced and the
// peer has all of it.
func (s *slot) mayCreate(force bool) error {
	v, err := s.running()
	if err != nil {
		return nil //nolint:nilerr // what does not run has nothing to lose that Create does not look for
	}
	state := v.State()
	switch {
	case state.Problem != "" && state.Role != control.Primary:
		return nil
	case !force:
		return s.runs("use --force to give its replica up and fill it anew from the peer")
	case state.Role == control.Primary:
		return s.runs("it is Primary; switch over first")
	case state.Connection != control.Connected || state.PeerDisk != control.UpToDate:
		return s.runs("the peer has no current copy of it, so this one is kept; connect the peer first")
	}
	return nil
}

func (s *slot) runs(next string) error {
	return &control.Error{Code: control.CodeRunning,
		Message: fmt.Sprintf("volume %s runs on this node already; %s", s.conf.Name, next)}
}

// named gives an error of the device or the metadata its stable code.
func named(err error) error {
	for _, c := range []struct {
		is   error
		code string
	}{
		{disk.ErrInUse, control.CodeDeviceInUse},
		{disk.ErrUnsupported, control.CodeDevice},
		{meta.ErrTooSmall, control.CodeTooSmall},
		{meta.ErrOccupied, control.CodeOccupied},
	} {
		if errors.Is(err, c.is) {
			return &control.Error{Code: c.code, Message: err.Error()}
		}
	}
	return &control.Error{Code: control.CodeDevice, Message: err.Error()}
}
