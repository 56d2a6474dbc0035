package scenarios

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
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
})
