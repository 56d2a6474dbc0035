package scenarios

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
)

var _ = Describe("The network", Label("full"), func() {
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
})
