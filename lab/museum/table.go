package main

import "gemel/lab/patch"

// exhibit is how a bug of docs/museum.md is shown.
type exhibit struct {
	number int
	room   string         // package whose tests show it
	run    string         // pattern of their names
	args   []string       // for the test binary
	bug    []patch.Change // bring it back
	why    string         // why it cannot be brought back; empty: it can
}

const (
	machine  = "./node/failover"
	core     = "./node/replicator/volume/core"
	coreRoom = "node/replicator/volume/core/"
	check    = "./node/failover/reign/check"
)

// small keeps the explicit-state check within some seconds.
var small = []string{"-short"}

var exhibits = []exhibit{
	{number: 1, room: machine, run: "TestSwitchover", bug: []patch.Change{{
		File: "node/failover/keepreign.go", Old: " || m.replica.Epoch <= m.ended {", New: " {"}}},
	{number: 2, why: "no single change is known that brings it back; its test is go test ./node/failover -run TestStepThatFailsEndsWithThePeer"},
	{number: 3, room: machine, run: "TestTwoFailingNodesDoNotTossTheVolume", bug: []patch.Change{{
		File: "node/failover/campaign.go", Old: "if m.handedOver() && m.now >= m.notBefore {", New: "if m.handedOver() {"}}},
	{number: 4, room: machine, run: "TestStaleNodeCutFromPrimaryDoesNotDisturbIt", bug: []patch.Change{{
		File: "node/failover/reign/reign.go", Old: "\tcase voter != p.self:\n\t\treturn true\n\t}", New: "\tdefault:\n\t\treturn true\n\t}"}}},
	{number: 5, why: "no single change is known that brings it back: another rule leads out of the same corner; " +
		"its walk is still walked: go test ./node/failover -run 'TestRandomWalk/51$'"},
	{number: 6, why: "no single change is known that brings it back: another rule leads out of the same corner; " +
		"its walk is still walked: go test ./node/failover -run 'TestRandomWalk/16$'"},
	{number: 7, room: check, run: "TestNoBehaviour", args: small, bug: []patch.Change{{
		File: "node/failover/reign/reign.go", Old: "\tcase voter != p.self:\n\t\treturn true\n\t}", New: "\tdefault:\n\t\treturn true\n\t}"}}},
	{number: 8, room: check, run: "TestNoBehaviour", args: small, bug: []patch.Change{{
		File: "node/failover/reign/check/take.go", Old: "if mutant == ForgetOpenGrowth {", New: "if true {"}}},
	{number: 9, room: check, run: "TestNoBehaviour", args: small, bug: []patch.Change{{
		File: "node/failover/reign/check/take.go", Old: "careless := mutant == GrowEarly || mutant == GrowUnchecked", New: "careless := true"}}},
	{number: 10, room: core, bug: []patch.Change{{
		File: coreRoom + "peer.go", Old: "\tc.wake(now)\n\tc.giveUpReads(now)\n", New: "\tc.giveUpReads(now)\n"}}},
	{number: 11, why: "no single change is known that brings it back: the activity log names those blocks, too; " +
		"its test is go test ./node/replicator/volume/core"},
	{number: 12, room: machine, run: "TestAgentRestartGoesOn", bug: []patch.Change{{
		File: "node/failover/machine.go", Old: "if m.resume(); m.role == RoleSecondary {", New: "if m.resume(); true {"}}},
	{number: 13, why: "it was in a program of the image: play make scenarios FOCUS='an operator moves the volume'"},
	{number: 14, why: "half of it was in the lab's own cables: play make scenarios FOCUS='press reset on the Primary'"},
	{number: 15, room: machine, run: "TestPeerOfANewerPromiseIsTakenBackWithoutAPause", bug: []patch.Change{{
		File: "node/failover/reelect.go", Old: "quiet && m.alone() && m.outbid()", New: "quiet && false && m.alone() && m.outbid()"}}},
	{number: 16, room: machine, run: "TestLastBoxStandingOutlivesItsAgent", bug: []patch.Change{{
		File: "node/failover/keepreign.go", Old: "\tm.send(m.prop.Confirm(m.replica.Chosen))\n", New: ""}}},
	{number: 17, room: "./node/replicator/volume", run: "TestStateTellsTheStableRegister", bug: []patch.Change{{
		File: "node/replicator/volume/control.go", Old: "Record: v.record,", New: "Record: v.register.Record,"}}},
	{number: 18, room: core, bug: []patch.Change{{
		File: coreRoom + "secondary.go",
		Old:  "if m.Epoch < c.register.Promised || m.Epoch != c.peerEpoch || !c.peer.Primary {", New: "if !c.peer.Primary {"}}},
	{number: 19, room: "./node/vip", run: "TestVanishedAddressComesBack", bug: []patch.Change{{
		File: "node/vip/holder.go", Old: "if err != nil || present {", New: "if err != nil || present || true {"}}},
	{number: 20, room: "./node/replicator/resync", run: "TestBusyOutlastsOneWrite", bug: []patch.Change{{
		File: "node/replicator/resync/pace.go", Old: "p.busyTill = now + busySpan", New: "p.busyTill = now"}}},
	{number: 21, room: "./node/mount", run: "TestTimeEndsDuringATry", bug: []patch.Change{{
		File: "node/mount/mount.go", Old: "case !busy || !errors.Is(err, ErrStuck):", New: "case !busy || true:"}}},
	{number: 22, room: core, run: "TestSplitBrainIsAlwaysSeen", args: []string{"-sim.seeds=2000"}, bug: []patch.Change{{
		File: coreRoom + "role.go", Old: "c.peerMayHold = c.meta.Gen.Bitmap == 0 || c.meta.Ending", New: "c.peerMayHold = c.meta.Gen.Bitmap == 0"}}},
	{number: 24, room: "./lab/sim", run: "TestBirthInterrupted", bug: []patch.Change{{
		File: "node/failover/act.go", Old: "return m.prop.Birth() || m.replica.Blank && !m.forced", New: "return m.prop.Birth()"}}},
	{number: 25, room: "./node/failover/reign", run: "TestBrokenOffBirthGoesAboveAHigherPromise", bug: []patch.Change{{
		File: "node/failover/reign/answers.go", Old: "&& !(v.promised && v.fresh)", New: ""}}},
	{number: 30, room: core, run: "Unreadable", bug: []patch.Change{{
		File: coreRoom + "checksum.go", Old: "\tc.leaveOut(now, q.r, here)\n\tc.settle(now, q)\n\tc.finish(q)\n",
		New: "\tc.dirty.Set(q.r)\n\tc.disconnect(now, q.err)\n"}}},
	{number: 33, room: "./node/mount", run: "TestFormatDiscardsNothing", bug: []patch.Change{{
		File: "node/mount/fsck.go", Old: `"-q", "-F", "-E", "nodiscard", device`, New: `"-q", "-F", device`}}},
	{number: 36, room: "./node/replicator/volume", run: "TestAnImageOfAConnectedTimeIsNoticed", bug: []patch.Change{{
		File: "node/replicator/volume/meeting.go", Old: "if !n.Moved || now < n.due {", New: "if true {"}}},
	{number: 37, room: core, run: "TestARepairKeepsItsDirection", bug: []patch.Change{{
		File: coreRoom + "verify.go", Old: "s := VerifyState{Running: w[0]&1 != 0, Paused: w[0]&4 != 0,",
		New: "s := VerifyState{Running: w[0]&1 != 0, Repair: w[0]&2 != 0, Paused: w[0]&4 != 0,"}}},
	{number: 39, room: "./node/failover/reign", bug: []patch.Change{{
		File: "node/failover/reign/reign.go", Old: "func (p *Proposer) Mute() { p.mute = true }", New: "func (p *Proposer) Mute() {}"}}},
	{number: 41, why: "with the mistake back its test waits for minutes before it fails: " +
		"go test ./node/replicator/volume -run TestBadBlocksOfZeroesAreMended"},
	{number: 44, room: "./lab/cluster", run: "TestOrphansBelongToOneLab", bug: []patch.Change{{
		File: "lab/cluster/orphans.go", Old: "\tcase lab == \"\":\n", New: "\tcase true:\n"}}},
	{number: 59, room: "./node/arbiter/etcd", run: "TestOneServerOfThreeHangs", bug: []patch.Change{{
		File: "node/arbiter/etcd/members.go", Old: "time.NewTicker(patience)", New: "time.NewTicker(time.Hour)"}}},
	{number: 61, room: "./node/arbiter/etcd", run: "TestADeposedLeaderKeepsNoLeaseAlive", bug: []patch.Change{{
		File: "node/arbiter/etcd/lease.go", Old: "return reply, h.term == term, nil", New: "return reply, true, nil"}}},
}
