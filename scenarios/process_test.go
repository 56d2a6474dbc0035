package scenarios

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("Processes", Label("full"), func() {
	DescribeTable("kill -9 while a client writes", func(ctx SpecContext, daemon string, onPrimary bool, limit time.Duration) {
		box, secondary := world.sides(ctx)
		if !onPrimary {
			box = secondary
		}
		report := world.underLoad(ctx, func() { world.kill(ctx, box, daemon) })
		Expect(longest(report)).To(BeNumerically("<=", limit))
		if daemon == "agent" || !onPrimary {
			Expect(report.Errors).To(BeZero())
		}
	},
		Entry("of the Primary's agent", "agent", true, failOverLimit, SpecTimeout(specLimit)),
		Entry("of the Secondary's agent", "agent", false, time.Second, SpecTimeout(specLimit)),
		Entry("of the Primary's replicator", "replicator", true, 2*failOverLimit, SpecTimeout(specLimit)),
		Entry("of the Secondary's replicator", "replicator", false, failOverLimit, SpecTimeout(specLimit)),
	)
})
