package scenarios

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/bmc"
	"gemel/lab/cluster"
	"gemel/lab/oracle"
	"gemel/node/api"
	"gemel/node/replicator/control"
)

// fencingLabel marks scenarios in which each server's configuration names the other's
// power control. They and those of an operator's orders take minutes together, so they are
// played by their label and with the soak.
const (
	fencingLabel  = "fencing"
	operatorLabel = "operator"
)

const (
	// unprovedLimit is the client's pause when a take-over waits in vain for a proof first.
	unprovedLimit = failOverLimit + 3*time.Second
	// proofLimit is the client's pause when a proof decides: MAJOR, the delay that keeps two
	// nodes from killing each other, and the shot.
	proofLimit = failOverLimit + 12*time.Second
	// lookLimit is how long a change of a power control may take to be in status.
	lookLimit = 30 * time.Second
)

var _ = Describe("Fencing", Label("soak", fencingLabel), func() {
	It("each server's power control is looked at and tested while a client writes: both would do, and nobody is disturbed",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			for _, server := range oracle.Servers {
				Expect(world.must(ctx, other(server), "gemel", "fence", "status", server)).To(ContainSubstring("power on, fit"))
			}
			report := world.underLoad(ctx, func() {
				Expect(world.must(ctx, primary, "gemel", "fence", "test", secondary, "--yes-i-know")).
					To(ContainSubstring("can be fenced"))
			})
			Expect(report.Errors).To(BeZero())
			Expect(world.primary(ctx)).To(Equal(primary))
			Expect(world.fencing(ctx, primary).Devices[0].Problem).To(BeEmpty())
			refused := world.says(ctx, secondary, "gemel", "fence", "test", primary, "--yes-i-know")
			Expect(refused.Code).To(Equal(3), refused.Stdout+refused.Stderr)
			Expect(refused.Stderr).To(ContainSubstring("gemel switchover " + volume))
		}, SpecTimeout(specLimit))

	It("the management cable of the Secondary is pulled, then the Primary dies while a client writes: status said that "+
		"fencing would fail, and the vote decides", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.pull(ctx, secondary, cluster.Management)
		world.awaitUnfit(ctx, secondary, "does not answer")
		Expect(world.says(ctx, secondary, "gemel", "status").Stdout).To(ContainSubstring("FAIL"))
		report := world.underLoad(ctx, func() { world.yank(ctx, primary) })
		Expect(longest(report)).To(BeNumerically("<=", unprovedLimit))
		world.awaitServing(ctx, secondary, unprovedLimit)
		world.expectEvents(ctx, secondary, "fence.unfit", "elected", "fence.unproved", "serving")
	}, SpecTimeout(specLimit))

	It("a power control refuses to switch off: the test finds out, status goes on saying so, a take-over happens by vote, and a "+
		"test of the mended one clears it", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		Expect(world.lab.BreakBMC(secondary, bmc.Faults{Fail: true})).To(Succeed())
		tested := world.says(ctx, primary, "gemel", "fence", "test", secondary, "--yes-i-know")
		Expect(tested.Code).NotTo(BeZero(), tested.Stdout)
		world.awaitUnfit(ctx, primary, "did not do what it was told")
		world.switchover(ctx, primary, volume)
		world.awaitHealthy(ctx)
		report := world.underLoad(ctx, func() { world.yank(ctx, secondary) })
		Expect(longest(report)).To(BeNumerically("<=", unprovedLimit))
		world.awaitServing(ctx, primary, unprovedLimit)
		Expect(world.lab.BreakBMC(secondary, bmc.Faults{})).To(Succeed())
		world.heal(ctx)
		world.must(ctx, primary, "gemel", "fence", "test", secondary, "--yes-i-know")
		Expect(world.fencing(ctx, primary).Devices[0].Problem).To(BeEmpty())
	}, SpecTimeout(specLimit))

	It("a power control lies and the Primary is cut off while a client writes: vote and lease keep the two apart, and the lie "+
		"is seen when the old Primary is heard again", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		Expect(world.lab.BreakBMC(primary, bmc.Faults{Lie: true})).To(Succeed())
		world.underLoad(ctx, func() {
			world.isolate(ctx, primary)
			world.awaitServing(ctx, secondary, 30*time.Second)
			world.expectLetGo(ctx, primary)
		})
		world.expectEvents(ctx, secondary, "elected", "fence.off", "serving")
		world.rejoin(primary)
		world.awaitUnfit(ctx, secondary, "was caught lying")
		world.expectEvents(ctx, secondary, "fence.unfit")
		Expect(world.lab.BreakBMC(primary, bmc.Faults{})).To(Succeed())
		world.heal(ctx)
		world.must(ctx, secondary, "gemel", "fence", "test", primary, "--yes-i-know")
		Expect(world.fencing(ctx, secondary).Devices[0].Problem).To(BeEmpty())
	}, SpecTimeout(specLimit))
})

var _ = Describe("The last vote", Label("soak"), func() {
	It("with fencing the witness dies, later the Primary while a client writes: the other serves on the proof that it is off, "+
		"and the pair is one again without a person", Label(fencingLabel), func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.yank(ctx, "witness")
		world.awaitArbiter(ctx, api.NoArbiter)
		Expect(world.node(ctx, secondary).Witness.Means).To(ContainSubstring("its power is cut"))
		report := world.underLoad(ctx, func() {
			world.yank(ctx, primary)
			world.awaitServing(ctx, secondary, proofLimit)
		})
		Expect(longest(report)).To(BeNumerically("<=", proofLimit))
		world.expectReason(ctx, secondary, "fence.asked", "only the proof that it is off can stand for its vote")
		world.expectEvents(ctx, secondary, "fence.asked", "fence.off", "elected", "serving")
		world.expectEvents(ctx, secondary, "fence.off", "fence.on")
		world.awaitConnected(ctx, secondary) // nobody but the survivor switched it on
		world.powerOn(ctx, "witness")
		world.awaitArbiter(ctx, "witness")
	}, SpecTimeout(specLimit))

	It("without fencing the witness dies, then the Primary while a client writes: the other does not serve and says which command "+
		"would do it, and the command does it", Label(operatorLabel), func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			world.yank(ctx, "witness")
			world.yank(ctx, primary)
			world.expectRefusal(ctx, secondary, primary+" does not answer", "witness does not answer", "`gemel grab "+volume+"`")
			world.must(ctx, secondary, "gemel", "grab", volume, "--yes-i-know")
			world.awaitServing(ctx, secondary, failOverLimit)
		})
		fmt.Fprintf(GinkgoWriter, "the client waited %v for a person\n", longest(report))
		world.expectNothingOf("fence.asked", "fence.off")
	}, SpecTimeout(specLimit))
})

// configure writes other settings into the boxes' configuration, and restarts the agents
// one after the other as if they had crashed: the volume stays where it is.
func (p *pair) configure(ctx context.Context, to cluster.Settings) {
	GinkgoHelper()
	Expect(p.lab.Reconfigure(to)).To(Succeed())
	p.settings = to
	for _, server := range oracle.Servers {
		Expect(p.lab.KillProcess(ctx, server, "agent")).To(Succeed())
		p.awaitServer(ctx, server)
	}
	p.awaitHealthy(ctx)
	if to.Fencing == cluster.FencingOff {
		return
	}
	for _, server := range oracle.Servers {
		Eventually(ctx, func(g Gomega) {
			node, err := p.oracle.Node(ctx, server)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(node.Fencing).NotTo(BeNil())
			g.Expect(node.Fencing.Devices).To(ConsistOf(HaveField("Problem", "")))
		}).WithTimeout(lookLimit).WithPolling(300*time.Millisecond).
			Should(Succeed(), func() string { return server + " cannot cut the other's power\n" + p.statuses() })
	}
}

// awaitServer waits until an agent that was ended answers anew.
func (p *pair) awaitServer(ctx context.Context, server string) {
	GinkgoHelper()
	Eventually(ctx, func() error {
		_, err := p.oracle.Node(ctx, server)
		return err
	}).WithTimeout(30 * time.Second).WithPolling(200 * time.Millisecond).Should(Succeed())
}

// fencing is what a server says of the other one's power.
func (p *pair) fencing(ctx context.Context, server string) *api.Fencing {
	GinkgoHelper()
	found := p.node(ctx, server).Fencing
	Expect(found).NotTo(BeNil(), "%s has no fencing", server)
	Expect(found.Devices).To(HaveLen(1))
	return found
}

// awaitUnfit waits until a server says why it could not cut the other's power.
func (p *pair) awaitUnfit(ctx context.Context, server, why string) {
	GinkgoHelper()
	Eventually(ctx, func() string { return p.fencing(ctx, server).Devices[0].Problem }).
		WithTimeout(lookLimit).WithPolling(300*time.Millisecond).Should(ContainSubstring(why), "what %s says of the power control", server)
	fmt.Fprintf(GinkgoWriter, "%s: %s\n", server, p.fencing(ctx, server).Devices[0].Problem)
}

// awaitArbiter waits until both servers recorded a third voter, and where it is none,
// until the Secondary could take over by a proof.
func (p *pair) awaitArbiter(ctx context.Context, third string) {
	GinkgoHelper()
	for _, server := range oracle.Servers {
		Eventually(ctx, func(g Gomega) {
			node, err := p.oracle.Node(ctx, server)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(node.Vol.Arbiter.Recorded).To(Equal(third), node.Vol.Arbiter.Differs)
			g.Expect(node.Vol.Arbiter.Assured || third != api.NoArbiter || node.Vol.Role == control.Primary).To(BeTrue())
		}).WithTimeout(time.Minute).WithPolling(300*time.Millisecond).
			Should(Succeed(), func() string { return "the third voter is not " + third + "\n" + p.statuses() })
	}
}

// awaitConnected waits until a Primary replicates again.
func (p *pair) awaitConnected(ctx context.Context, primary string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		node, err := p.oracle.Node(ctx, primary)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Connection).To(Equal(control.Connected))
		g.Expect(node.Vol.InSyncBy).To(HaveLen(2))
	}).WithTimeout(healLimit).WithPolling(300*time.Millisecond).Should(Succeed(), p.statuses)
}

// says runs a command on a box, however it ends.
func (p *pair) says(ctx context.Context, box string, command ...string) cluster.Result {
	GinkgoHelper()
	said, err := p.lab.Exec(ctx, box, command...)
	Expect(err).NotTo(HaveOccurred())
	return said
}
