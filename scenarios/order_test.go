package scenarios

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/oracle"
)

var _ = Describe("Orders", Label("full"), func() {
	It("an operator moves the volume to the other server while a client writes", Label("smoke"), func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			said, err := world.lab.Exec(ctx, primary, "gemel", "switchover", "--timeout", "30s", volume)
			Expect(err).NotTo(HaveOccurred())
			Expect(said.Code).To(BeZero(), said.Stdout+said.Stderr)
		})
		Expect(report.Errors).To(BeZero())
		Expect(longest(report)).To(BeNumerically("<=", switchoverLimit))
		Expect(world.primary(ctx)).To(Equal(secondary))
	}, SpecTimeout(specLimit))

	It("an operator moves the volume there and back, and again, while a client writes", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			for range 4 {
				world.must(ctx, primary, "gemel", "switchover", "--timeout", "30s", volume)
				time.Sleep(time.Second)
			}
		})
		Expect(report.Errors).To(BeZero())
		Expect(longest(report)).To(BeNumerically("<=", switchoverLimit))
		world.expectEvents(ctx, secondary, "elected", "serving", "leaving", "elected", "serving", "leaving")
		world.expectNothingOf("failure.major", "letting-go")
		Expect(world.primary(ctx)).To(Equal(primary))
	}, SpecTimeout(specLimit))

	It("two operators order opposite things at the same moment while a client writes: one of the servers serves", func(ctx SpecContext) {
		report := world.underLoad(ctx, func() {
			world.atOnce(func(name string) {
				said, err := world.lab.Exec(ctx, name, "gemel", "switchover", "--timeout", "20s", volume)
				Expect(err).NotTo(HaveOccurred())
				fmt.Fprintf(GinkgoWriter, "%s: exit code %d %s", name, said.Code, said.Stderr)
			})
			world.awaitOneServing(ctx)
		})
		Expect(report.Errors).To(BeZero())
		world.expectNothingOf("failure.major", "letting-go")
	}, SpecTimeout(specLimit))

	It("the protocol is changed to A, to B and back to C while a client writes: nobody notices", func(ctx SpecContext) {
		primary := world.primary(ctx)
		DeferCleanup(func(ctx SpecContext) {
			_, _ = world.lab.Exec(ctx, primary, "gemel", "volume", "protocol", volume, "C")
		})
		report := world.underLoad(ctx, func() {
			for _, protocol := range []string{"A", "B", "C"} {
				world.must(ctx, primary, "gemel", "volume", "protocol", volume, protocol)
				Eventually(ctx, func() (string, error) {
					node, err := world.oracle.Node(ctx, primary)
					return node.Vol.ProtocolInUse, err
				}).WithTimeout(20 * time.Second).Should(Equal(protocol))
				time.Sleep(time.Second)
			}
		})
		Expect(report.Errors).To(BeZero())
		for _, name := range oracle.Servers {
			world.expectEvents(ctx, name, "protocol.changed", "protocol.changed", "protocol.changed")
		}
		world.expectNothingOf(takeOver...)
	}, SpecTimeout(specLimit))

	It("every daemon of every box is restarted, one box after the other, as for an update: no client sees an error", func(ctx SpecContext) {
		report := world.underLoad(ctx, func() {
			for _, box := range append([]string{"witness"}, oracle.Servers...) {
				world.renewDaemons(ctx, box)
				world.awaitHealthy(ctx)
			}
		})
		Expect(report.Errors).To(BeZero())
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		for _, name := range oracle.Servers {
			world.expectEvents(ctx, name, "agent.stop", "agent.start")
		}
	}, SpecTimeout(specLimit))
})

// renewDaemons restarts the daemons of a box in order, as systemd does, the agent before
// the replicator that it needs; each time it waits until another one runs in its place.
func (p *pair) renewDaemons(ctx context.Context, box string) {
	GinkgoHelper()
	daemons := []string{"agent", "replicator"}
	if box == "witness" {
		daemons = []string{"witness"}
	}
	for _, daemon := range daemons {
		before := p.pid(ctx, box, daemon)
		p.signal(ctx, box, "TERM", before)
		Eventually(ctx, func() (string, error) {
			said, err := p.lab.Exec(ctx, box, "pgrep", "-x", "-f", "gemel "+daemon+" .*")
			return strings.TrimSpace(said.Stdout), err
		}).WithTimeout(time.Minute).WithPolling(200*time.Millisecond).
			Should(And(MatchRegexp(`^\d+$`), Not(Equal(before))), "%s of %s does not come back", daemon, box)
	}
}
