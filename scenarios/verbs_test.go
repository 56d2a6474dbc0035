package scenarios

import (
	"context"
	"errors"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/badcable"
	"gemel/lab/bmc"
	"gemel/lab/cluster"
)

var _ = Describe("Bad cables", Label("full"), func() {
	It("both private cables are long and lose frames while a client writes: nobody fails over, nothing is lost", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		quality := badcable.Quality{Delay: 5 * time.Millisecond, Jitter: 2 * time.Millisecond, Loss: 0.005, Duplicate: 0.005, Reorder: 0.005}
		report := world.underLoad(ctx, func() {
			for _, cable := range []string{cluster.Private, cluster.Private2} {
				Expect(world.lab.DegradeCable(ctx, secondary, cable, cluster.BothWays, quality)).To(Succeed())
			}
			time.Sleep(5 * time.Second)
		})
		Expect(report.Errors).To(BeZero())
		Expect(world.primary(ctx)).To(Equal(primary))
	}, SpecTimeout(specLimit))

	It("a private cable carries nothing from the Primary any more, though both ends see a carrier: replication takes another link",
		Label("smoke"), func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.awaitLink(ctx, primary, "private")
			report := world.underLoad(ctx, func() {
				Expect(world.lab.CutCable(ctx, primary, cluster.Private, cluster.Out)).To(Succeed())
				world.awaitLink(ctx, primary, "private2")
				world.awaitLink(ctx, secondary, "private2")
			})
			Expect(report.Errors).To(BeZero())
			Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
			Expect(world.primary(ctx)).To(Equal(primary))
		}, SpecTimeout(specLimit))
})

var _ = Describe("Memory", Label("full"), func() {
	It("fill the Primary's memory while a client writes: whatever the kernel kills, no acknowledged record is lost", func(ctx SpecContext) {
		primary := world.primary(ctx)
		world.underLoad(ctx, func() {
			err := world.lab.FillMemory(ctx, primary)
			DeferCleanup(world.lab.FreeMemory, primary)
			Expect(err).NotTo(HaveOccurred())
			time.Sleep(5 * time.Second)
		})
	}, SpecTimeout(specLimit))
})

var _ = Describe("The lab's own verbs", Label("full"), func() {
	It("break everything at once, heal, heal again: the second time there is nothing to do", Label("smoke"), func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		Expect(errors.Join(
			world.lab.PullCable(primary, cluster.LAN),
			world.lab.DegradeCable(ctx, primary, cluster.Private, cluster.In, badcable.Quality{Loss: 0.5}),
			world.lab.CutCable(ctx, "witness", cluster.LAN, cluster.BothWays),
			world.lab.BreakBMC(primary, bmc.Faults{Lie: true, Slow: time.Second}),
			world.lab.PauseProcess(ctx, primary, "agent"),
			world.lab.KillProcess(ctx, secondary, "replicator"),
			world.lab.FillMemory(ctx, secondary))).To(Succeed())
		world.askerDies("the client, who asks, is switched off")
		world.yank(ctx, "client")
		did, err := world.lab.Heal(ctx)
		Expect(err).NotTo(HaveOccurred())
		fmt.Fprintf(GinkgoWriter, "healed: %q\n", did)
		Expect(did).To(HaveLen(7))
		Expect(world.lab.Heal(ctx)).To(BeEmpty())
		world.awaitHealthy(ctx)
	}, SpecTimeout(specLimit))

	It("a process that is not there is named", func(ctx context.Context) {
		err := world.lab.PauseProcess(ctx, "witness", "replicator")
		Expect(err).To(MatchError(cluster.ErrNoProcess))
		Expect(err.Error()).To(ContainSubstring("replicator of witness"))
	})
})
