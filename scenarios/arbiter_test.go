package scenarios

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/bmc"
	"gemel/lab/cluster"
	"gemel/lab/oracle"
	"gemel/node/api"
)

var _ = Describe("The third voter is changed", Label("soak", fencingLabel), func() {
	It("from the witness to none while a client writes, then the Primary dies: the proof decides; and back, and the Primary dies: "+
		"the vote decides", func(ctx SpecContext) {
		for _, step := range []struct {
			on, recorded string
			limit        time.Duration
			tells        []string
		}{
			{cluster.NoWitness, api.NoArbiter, proofLimit, []string{"fence.asked", "fence.off", "elected", "serving"}},
			{cluster.LAN, "witness", unprovedLimit, []string{"elected", "serving"}},
		} {
			report := world.underLoad(ctx, func() {
				world.changeArbiter(ctx, step.on)
				world.awaitArbiter(ctx, step.recorded)
			})
			Expect(report.Errors).To(BeZero(), "the change to %s was noticed", step.recorded)
			primary, secondary := world.sides(ctx)
			report = world.underLoad(ctx, func() {
				world.yank(ctx, primary)
				world.awaitServing(ctx, secondary, step.limit)
			})
			Expect(longest(report)).To(BeNumerically("<=", step.limit))
			world.expectEvents(ctx, secondary, step.tells...)
			world.heal(ctx)
		}
	}, SpecTimeout(2*specLimit))

	It("there is none and a power control was caught lying, then the Primary dies: the other does not believe it and does not serve, "+
		"until a person says so", func(ctx SpecContext) {
		world.changeArbiter(ctx, cluster.NoWitness)
		world.awaitArbiter(ctx, api.NoArbiter)
		world.heal(ctx)
		primary, secondary := world.sides(ctx)
		Expect(world.lab.BreakBMC(secondary, bmc.Faults{Lie: true})).To(Succeed())
		tested := world.says(ctx, primary, "gemel", "fence", "test", secondary, "--yes-i-know")
		Expect(tested.Code).NotTo(BeZero(), tested.Stdout)
		world.awaitUnfit(ctx, primary, "lies")
		world.switchover(ctx, primary, volume)
		world.awaitArbiter(ctx, api.NoArbiter)
		world.writeSome(ctx)
		world.yank(ctx, secondary)
		world.expectRefusal(ctx, primary, "fencing could not prove", "caught lying", "`gemel grab "+volume+"`")
		world.must(ctx, primary, "gemel", "grab", volume, "--yes-i-know")
		world.awaitServing(ctx, primary, failOverLimit)
		Expect(world.lab.BreakBMC(secondary, bmc.Faults{})).To(Succeed())
		world.heal(ctx)
		world.must(ctx, primary, "gemel", "fence", "test", secondary, "--yes-i-know")
		world.heal(ctx)
	}, SpecTimeout(specLimit))
})

// changeArbiter does what the manual says: the new configuration on both servers, the
// agents restarted one after the other, the Secondary's first, and the wait for the change.
func (p *pair) changeArbiter(ctx context.Context, witnessOn string) {
	GinkgoHelper()
	to := cluster.Settings{Fencing: cluster.FencingOn, WitnessOn: witnessOn}
	Expect(p.lab.Reconfigure(to)).To(Succeed())
	p.settings = to
	primary, secondary := p.sides(ctx)
	for _, server := range []string{secondary, primary} {
		Expect(p.lab.RestartProcess(ctx, server, "agent")).To(Succeed())
		p.awaitServer(ctx, server)
	}
	for _, server := range oracle.Servers {
		p.must(ctx, server, "gemel", "arbiter", "change", "--wait", "1m")
	}
}
