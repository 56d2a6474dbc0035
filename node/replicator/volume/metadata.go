package volume

import (
	"time"

	"gemel/node/replicator/meta"
	"gemel/node/replicator/volume/core"
)

// metaOf is the core's part of a superblock.
func metaOf(s *meta.Superblock) core.Meta {
	return core.Meta{
		Gen: s.Generation, Size: s.AgreedSize,
		Created: s.Flags.Has(meta.Created), Inconsistent: s.Flags.Has(meta.Inconsistent),
		Crashed: s.Flags.Has(meta.CrashedPrimary), Active: s.Flags.Has(meta.PrimaryActive),
		BitmapValid: s.Flags.Has(meta.BitmapValid), ResyncFrom: s.ResyncTarget,
		Discard: s.Flags.Has(meta.Discard), KeepUndo: s.Flags.Has(meta.KeepUndo), Ending: s.Past.Ending,
		MayLack: s.MayLack, Room: s.Room, Keep: s.Flags.Has(meta.Keep), Outdated: s.Flags.Has(meta.Outdated),
		Verify: core.VerifyState(s.Verify),
	}
}

func putMeta(s *meta.Superblock, m core.Meta) {
	s.Past.Ending = m.Ending
	s.Generation, s.AgreedSize, s.ResyncTarget, s.MayLack = m.Gen, m.Size, m.ResyncFrom, m.MayLack
	s.Room = m.Room
	s.Verify = meta.Verify(m.Verify)
	for _, f := range []struct {
		flag meta.Flags
		set  bool
	}{
		{meta.Created, m.Created}, {meta.Inconsistent, m.Inconsistent}, {meta.CrashedPrimary, m.Crashed},
		{meta.PrimaryActive, m.Active}, {meta.BitmapValid, m.BitmapValid},
		{meta.Discard, m.Discard}, {meta.KeepUndo, m.KeepUndo}, {meta.Keep, m.Keep}, {meta.Outdated, m.Outdated},
	} {
		s.Flags = s.Flags.Without(f.flag)
		if f.set {
			s.Flags = s.Flags.With(f.flag)
		}
	}
}

// keepMeta is the only writer of the superblock. What is asked for while it writes
// goes with the next write.
func (v *Volume) keepMeta() {
	defer v.running.Done()
	v.mu.Lock()
	defer v.mu.Unlock()
	written := uint64(0)
	for {
		for !v.closed && v.metaWanted == written && v.recordWanted == v.recordStable {
			v.metaReady.Wait()
		}
		if v.metaWanted == written && v.recordWanted == v.recordStable {
			return
		}
		written = v.writeMeta()
		v.changes.Broadcast()
	}
}

func (v *Volume) writeMeta() (version uint64) {
	m, version := v.core.Meta()
	record, number, peer := v.register.Record, v.recordWanted, v.met
	v.mu.Unlock()
	err := v.o.Store.Update(func(s *meta.Superblock) {
		old := *s
		putMeta(s, m)
		s.Register = record
		stamp(&old, s, peer, time.Now())
	})
	v.mu.Lock()
	v.recordStable = number
	if err != nil {
		v.metaFailed = err
	} else if v.record != record {
		v.record = record
		v.touched()
	}
	v.answerRenewal()
	v.core.Persisted(Now(), version, err)
	v.run()
	return version
}

// stableRecord waits until the register as it is now is on stable storage; v.mu
// is held.
func (v *Volume) stableRecord(changed bool) error {
	if changed {
		v.recordWanted++
		v.metaReady.Signal()
		v.core.Accepted(Now(), v.register.Record)
		v.run()
	}
	for want := v.recordWanted; v.recordStable < want && v.metaFailed == nil; {
		if v.closed {
			return errClosed
		}
		v.changes.Wait()
	}
	return v.metaFailed
}

// waitUntil waits for cond, with v.mu held around it, at most for limit.
func (v *Volume) waitUntil(limit time.Duration, cond func() bool) bool {
	end := time.AfterFunc(limit, func() {
		v.mu.Lock()
		v.changes.Broadcast()
		v.mu.Unlock()
	})
	defer end.Stop()
	for deadline := time.Now().Add(limit); !cond(); {
		if v.closed || !time.Now().Before(deadline) {
			return false
		}
		v.changes.Wait()
	}
	return true
}
