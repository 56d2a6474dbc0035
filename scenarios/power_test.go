package scenarios

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("Power", Label("full"), func() {
	It("press reset on the Primary while a client writes", Label("smoke"), func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			_, err := world.lab.PressReset(ctx, primary)
			Expect(err).NotTo(HaveOccurred())
		})
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		world.awaitServing(ctx, secondary, failOverLimit)
	}, SpecTimeout(specLimit))

	It("press reset on the Secondary while a client writes", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		report := world.underLoad(ctx, func() {
			_, err := world.lab.PressReset(ctx, secondary)
			Expect(err).NotTo(HaveOccurred())
		})
		Expect(report.Errors).To(BeZero(), "the Primary needs nobody to go on")
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		Expect(world.primary(ctx)).To(Equal(primary))
	}, SpecTimeout(specLimit))
})
