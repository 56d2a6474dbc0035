package scenarios

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
)

var _ = Describe("The network", Label("full"), func() {
	It("the client's own cable is pulled: nobody fails over, and plugging it is enough", func(ctx SpecContext) {
		primary := world.primary(ctx)
		world.underLoad(ctx, func() {
			world.pull(ctx, "client", cluster.LAN)
			time.Sleep(5 * time.Second) // longer than a lease
			Expect(world.lab.PlugCable("client", cluster.LAN)).To(Succeed())
		})
		world.expectNothingOf(takeOver...)
		Expect(world.primary(ctx)).To(Equal(primary))
	}, SpecTimeout(specLimit))

	It("the LAN's switch fails under everybody while a client writes: the servers do not toss the volume, and go on when it is back",
		func(ctx SpecContext) {
			boxes := []string{"client", "witness", "server1", "server2"}
			world.underLoad(ctx, func() {
				for _, box := range boxes {
					world.pull(ctx, box, cluster.LAN)
				}
				time.Sleep(8 * time.Second)
				for _, box := range boxes {
					Expect(world.lab.PlugCable(box, cluster.LAN)).To(Succeed())
				}
			})
			moved := 0
			for _, e := range world.history() {
				if e.Kind == "elected" {
					moved++
				}
			}
			Expect(moved).To(BeNumerically("<=", 1), world.tale)
		}, SpecTimeout(specLimit))

	// Nobody sees a carrier go: only silence tells, and only to the others.
	It("nothing that the Primary sends arrives anywhere any more, while it hears everybody: the other serves, and it lets go",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.underLoad(ctx, func() {
				for _, cable := range betweenServers {
					Expect(world.lab.CutCable(ctx, primary, cable, cluster.Out)).To(Succeed())
				}
				world.awaitServing(ctx, secondary, 30*time.Second)
				world.expectLetGo(ctx, primary)
			})
			world.expectEvents(ctx, secondary, "failure.major", "elected", "serving")
			for _, cable := range betweenServers {
				Expect(world.lab.MendCable(ctx, primary, cable)).To(Succeed())
			}
			world.awaitHealthy(ctx)
			Expect(world.primary(ctx)).To(Equal(secondary))
		}, SpecTimeout(specLimit))

	// A box that stands still sends nothing, while the network goes on without it; that its
	// kernel, which is the host's, stands still as well is what the pulled cables play.
	It("the Primary's box stands still, as a virtual machine does while it is moved, and goes on when the other serves: "+
		"what it was about to acknowledge it never does, and it lets go", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.bothMayAnswer("the kernel of a box that goes on answers for its addresses before the first program of it runs")
		world.underLoad(ctx, func() {
			world.isolate(ctx, primary)
			world.freeze(ctx, primary)
			world.awaitServing(ctx, secondary, 30*time.Second)
			world.rejoin(primary)
			world.thaw(ctx, primary)
			world.expectLetGo(ctx, primary)
		})
		world.expectEvents(ctx, secondary, "failure.major", "elected", "serving")
		world.expectEvents(ctx, primary, "letting-go", "let-go")
		Expect(world.primary(ctx)).To(Equal(secondary))
	}, SpecTimeout(specLimit))
})

// freeze stops every process of a box but its init, which only waits; thaw lets them go on.
func (p *pair) freeze(ctx context.Context, box string) {
	GinkgoHelper()
	p.must(ctx, box, "sh", "-c", "kill -STOP -1")
}

func (p *pair) thaw(ctx context.Context, box string) {
	GinkgoHelper()
	p.must(ctx, box, "sh", "-c", "kill -CONT -1")
}
