package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/config"
	"gemel/node/event"
	"gemel/node/failover"
	"gemel/node/failover/rehearsal"
	"gemel/node/replicator/control"
)

// stageWait bounds the asking of peer and witness for a dry run.
const stageWait = 2 * time.Second

// stander is a machine that can tell what it stands on.
type stander interface{ Standing() failover.Standing }

// recorder is a third voter that can tell its registers without a vote.
type recorder interface {
	Records(ctx context.Context, volumes []string) (map[string]arbiter.Record, error)
}

// standing is this node's part of a rehearsal, with what only a replicator knows.
type standing struct {
	rehearsal.Node
	StandAlone bool          `json:"stand_alone"`
	Resync     time.Duration `json:"resync_ns"` // time left of a resync; zero: none that would end
}

// stands tells what the volume's machine stands on.
func (o *owner) stands() (standing, error) {
	m, ok := o.machine.(stander)
	state := o.state.Load()
	if !ok {
		return standing{}, fmt.Errorf("volume %s has no machine that could be rehearsed", o.name)
	}
	o.stepping.Lock()
	s := standing{Node: rehearsal.Node{Standing: m.Standing(), AddressNIC: o.nic.Load(), Took: o.course.tookLast()}}
	o.stepping.Unlock()
	if state == nil {
		s.ReplicaDown = "the replicator does not answer"
		return s, nil
	}
	s.Replica = report(*state)
	s.StandAlone = state.Connection == control.StandAlone
	if state.Resync != nil && state.Resync.Waiting == "" {
		s.Resync = state.Resync.ETA
	}
	return s, nil
}

// stage is this node's part of every volume's rehearsal.
func (a *Agent) stage() (map[string]standing, error) {
	all := map[string]standing{}
	for _, o := range a.owners {
		s, err := o.stands()
		if err != nil {
			return nil, err
		}
		s.NoWitness = a.witness != nil && !a.witnessUp.Load()
		if a.fencer != nil {
			s.Fails = a.fencer.foreseen()
		}
		all[o.name] = s
	}
	return all, nil
}

// stageForPeer is stage as it travels.
func (a *Agent) stageForPeer() (api.Stage, error) {
	all, err := a.stage()
	if err != nil {
		return api.Stage{}, err
	}
	out := api.Stage{Volumes: map[string]json.RawMessage{}}
	for name, s := range all {
		raw, err := json.Marshal(s)
		if err != nil {
			return api.Stage{}, fmt.Errorf("tell what volume %s stands on: %w", name, err)
		}
		out.Volumes[name] = raw
	}
	return out, nil
}

// whatIf rehearses what would follow if something failed now.
func (a *Agent) whatIf(ctx context.Context, q api.WhatIfQuery) ([]api.WhatIf, error) {
	fault, err := a.fault(q)
	if err != nil {
		return nil, err
	}
	owners := a.owners
	if q.Volume != "" {
		o, err := a.owner(q.Volume)
		if err != nil {
			return nil, err
		}
		owners = []*owner{o}
	}
	here, err := a.stage()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stageWait)
	defer cancel()
	there, why := a.peerStage(ctx)
	records := a.records(ctx)
	answers := make([]api.WhatIf, 0, len(owners))
	for _, o := range owners {
		if why != nil {
			answers = append(answers, api.WhatIf{Volume: o.name, Problem: why.Error()})
			continue
		}
		answers = append(answers, a.rehearse(o, fault, a.stageOf(o, here, there, records)))
	}
	return answers, nil
}

// fault finds out what is meant to fail.
func (a *Agent) fault(q api.WhatIfQuery) (rehearsal.Fault, error) {
	f := rehearsal.Fault{Service: q.Service}
	switch q.What {
	case api.WhatIfKill, api.WhatIfCutAll:
		i := a.cfg.NodeIndex(q.Node)
		if i < 0 {
			return f, &api.Error{Code: api.CodeRefused, Message: fmt.Sprintf("there is no data node %q; the configuration has %s",
				q.Node, strings.Join(a.cfg.NodeNames(), " and "))}
		}
		f.Kind, f.Node = rehearsal.Kill, arbiter.NodeID(i) //nolint:gosec // 0 or 1
		if q.What == api.WhatIfCutAll {
			f.Kind = rehearsal.CutAll
		}
	case api.WhatIfStopService:
		f.Kind = rehearsal.StopService
	case api.WhatIfCutPrivate:
		f.Kind, f.Link = rehearsal.CutLink, a.cfg.LinkNames()[0]
	case api.WhatIfLoseWitness:
		if a.witness == nil {
			return f, &api.Error{Code: api.CodeRefused, Message: "no third voter is configured, so none can be lost; see docs/operating/arbiters.md"}
		}
		f.Kind = rehearsal.LoseWitness
	default:
		return f, &api.Error{Code: api.CodeBadRequest, Message: fmt.Sprintf("nothing is called %q that could fail", q.What)}
	}
	return f, nil
}

// peerStage asks the peer for its part; nil when it is silent. A peer that is heard and
// does not answer makes every answer a guess, and none is given.
func (a *Agent) peerStage(ctx context.Context) (map[string]standing, error) {
	if view, _ := a.peerView(); !view.Alive {
		return nil, nil //nolint:nilnil // a dead peer has no part
	}
	raw, err := overLinks(ctx, a.links, func(ctx context.Context, p Peer) (api.Stage, error) { return p.Stage(ctx) })
	if err != nil {
		return nil, fmt.Errorf("%s is heard but did not tell what it stands on: %w", a.cfg.Peer().Name, err)
	}
	all := map[string]standing{}
	for name, text := range raw.Volumes {
		var s standing
		if err := json.Unmarshal(text, &s); err != nil {
			return nil, fmt.Errorf("%s told something else than expected; is it of another version? %w", a.cfg.Peer().Name, err)
		}
		all[name] = s
	}
	return all, nil
}

// records asks the third voter; nil when it cannot tell.
func (a *Agent) records(ctx context.Context) map[string]arbiter.Record {
	r, ok := a.witness.(recorder)
	if !ok {
		return nil
	}
	all, err := r.Records(ctx, a.volumeNames())
	if err != nil {
		return nil
	}
	return all
}

// stageOf puts a volume's rehearsal together.
func (a *Agent) stageOf(o *owner, here, there map[string]standing, records map[string]arbiter.Record) rehearsal.Stage {
	self := a.cfg.SelfIndex()
	s := rehearsal.Stage{Replication: a.cfg.ReplicationLinks(), Silent: map[string]bool{}}
	s.Config[self], s.Config[1-self] = machineConfig(a.cfg, self, "", o.vol), machineConfig(a.cfg, 1-self, "", o.vol)
	mine := here[o.name]
	s.Nodes[self] = &mine.Node
	s.Apart = mine.StandAlone
	left := mine.Resync
	if its, ok := there[o.name]; ok {
		s.Nodes[1-self] = &its.Node
		s.Apart, left = s.Apart || its.StandAlone, max(left, its.Resync)
	}
	if _, links := a.peerView(); s.Nodes[1-self] != nil {
		for name, l := range links {
			s.Silent[name] = !l.up
		}
	}
	s.Resync = rehearsal.Never
	if view := o.view.Load(); view != nil && view.Chosen.Set == arbiter.Both {
		s.Resync = time.Second // what a short absence costs
	} else if left > 0 {
		s.Resync = left
	}
	s.Witness = a.thirdRecord(o.name, &s, records)
	return s
}

// thirdRecord is the third voter's register; one that cannot tell it is taken to have
// what the nodes know of.
func (a *Agent) thirdRecord(volume string, s *rehearsal.Stage, records map[string]arbiter.Record) *arbiter.Record {
	reached := false
	newest := arbiter.Record{Fresh: true}
	for _, n := range s.Nodes {
		if n == nil || a.witness == nil {
			continue
		}
		reached = reached || !n.NoWitness
		if r := n.Replica.Record; r.Accepted.Newer(newest.Accepted) {
			newest = r
		}
	}
	if !reached {
		return nil
	}
	if records != nil {
		told, known := records[volume]
		if newest = told; !known {
			newest = arbiter.Record{Fresh: true}
		}
	}
	return &newest
}

// rehearse plays the fault and puts what follows into words.
func (a *Agent) rehearse(o *owner, f rehearsal.Fault, s rehearsal.Stage) api.WhatIf {
	w := api.WhatIf{Volume: o.name, Lines: []api.WhatIfLine{}, Not: []api.WhatIfNot{}}
	if f.Kind == rehearsal.StopService {
		if f.Service == "" && len(o.vol.Services) > 0 {
			f.Service = o.vol.Services[0].Name
		}
		if !slices.ContainsFunc(o.vol.Services, func(v config.Service) bool { return v.Name == f.Service }) {
			w.Problem = "the volume has no such service"
			return w
		}
	}
	out, err := rehearsal.Play(s, f)
	if err != nil {
		w.Problem = err.Error()
		return w
	}
	w.Before, w.After, w.Pause = a.nameOf(out.Before), a.nameOf(out.After), out.Pause
	if out.CutOff {
		w.After = ""
	}
	w.PauseOpen = w.After == ""
	for _, l := range out.Lines {
		if l.Kind == "link.up" || l.Kind == "peer.alive" || l.Kind == "lease.release-lost" {
			continue
		}
		w.Lines = append(w.Lines, api.WhatIfLine{At: l.At, Node: l.Node, Text: l.Text, Reason: l.Reason,
			Step: l.Kind == "step", Took: l.StepTook, AtMost: l.StepAtMostTime})
		w.PauseOpen = w.PauseOpen || l.Kind == "step" && !l.NamesTime
	}
	w.Not = a.wouldNot(o, &out, f)
	return w
}

func (a *Agent) nameOf(node int) string {
	if node == rehearsal.Nobody {
		return ""
	}
	return a.cfg.Nodes[node].Name
}

// wouldNot says what would not happen, and why.
func (a *Agent) wouldNot(o *owner, out *rehearsal.Outcome, f rehearsal.Fault) []api.WhatIfNot {
	not := []api.WhatIfNot{}
	for i, why := range out.Refusals {
		if why != "" {
			not = append(not, api.WhatIfNot{Text: a.nameOf(i) + " would not serve " + o.name, Why: why})
		}
	}
	if out.After == rehearsal.Nobody {
		if len(not) == 0 {
			not = append(not, api.WhatIfNot{Text: "nobody would serve " + o.name, Why: "no node is left that could be asked"})
		}
		return not
	}
	if out.CutOff {
		return append(not, api.WhatIfNot{Text: "no client would be served", Why: a.nameOf(out.After) + " goes on, but nobody reaches it"})
	}
	serves, other := a.nameOf(out.After), a.nameOf(1-out.After)
	if out.After == out.Before {
		not = append(not, api.WhatIfNot{Text: "no fail-over", Why: serves + " serves on"})
	}
	switch {
	case out.InSync != arbiter.Both:
		not = append(not, api.WhatIfNot{Text: "no further failure would be survived until " + other + " is in sync again",
			Why: serves + " would hold the only current copy"})
	case f.Kind == rehearsal.LoseWitness:
		not = append(not, api.WhatIfNot{Text: "no take-over if a node failed next", Why: "it needs 2 votes of 3, and only one would be left; " +
			"`gemel grab` would be needed"})
	}
	return not
}

// tookLast is how long each step took when it last ended well.
func (c *course) tookLast() map[failover.Step]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.took)
}

// keepTime remembers how long a step took.
func (c *course) keepTime(s failover.Step, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.took == nil {
		c.took = map[failover.Step]time.Duration{}
	}
	c.took[s] = took
}

// recallTimes takes the times of steps of earlier lives out of the history.
func (a *Agent) recallTimes(past []event.Event) {
	steps := map[string]failover.Step{}
	for s := failover.StepFence; s <= failover.StepLetGoIO; s++ {
		steps[s.String()] = s
	}
	for i := range past {
		e := &past[i]
		o, err := a.owner(e.Volume)
		took, bad := time.ParseDuration(e.Fields["took_ms"] + "ms")
		if s, known := steps[e.Fields["step"]]; known && err == nil && bad == nil && e.Kind == "step.done" {
			o.course.keepTime(s, took)
		}
	}
}

// foreseen are the steps that fencing would let fail, as far as the last look tells.
func (f *fencer) foreseen() map[failover.Step]string {
	s := f.status()
	if !s.Required && (f.decides == nil || !f.decides()) {
		return nil
	}
	var why []string
	for _, d := range s.Devices {
		if d.Problem == "" {
			return nil
		}
		why = append(why, d.Name+": "+d.Problem)
	}
	return map[failover.Step]string{failover.StepFence: "no device could prove that " + f.node + " is off: " + strings.Join(why, "; ")}
}
