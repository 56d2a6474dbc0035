package scenarios

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("Synchronisation", Label("full"), func() {
	It("the first sync copies the whole volume, and both disks are the same", Label("smoke"), func(ctx SpecContext) {
		first := world.firstSync
		fmt.Fprintf(GinkgoWriter, "first sync: %d MiB moved of %d MiB\n", first.moved>>20, first.size>>20)
		Expect(first.size).To(BeNumerically(">", diskSize*9/10))
		Expect(first.moved).To(BeNumerically(">=", first.size))
		Expect(world.oracle.Identical(ctx)).To(Succeed())
	}, SpecTimeout(specLimit))
})
