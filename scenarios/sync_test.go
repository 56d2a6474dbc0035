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

	It("after a break only what changed is sent again", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		before := world.node(ctx, primary).Vol.Counters
		world.isolate(ctx, secondary)
		world.awaitAlone(ctx, primary)
		world.writeSome(ctx)
		broken := world.node(ctx, primary).Vol
		world.rejoin(secondary)
		world.awaitHealthy(ctx)
		after := world.node(ctx, primary).Vol.Counters
		moved := after.Resynced - before.Resynced
		// The file system writes on by itself, as when it zeroes its inode tables
		// after a mount: also between the look and the plug.
		written, later := broken.Counters.Written-before.Written, after.Written-broken.Counters.Written
		fmt.Fprintf(GinkgoWriter, "written during the break %d KiB, out of sync %d KiB, written later %d KiB, sent again %d KiB of %d KiB\n",
			written>>10, broken.OutOfSync>>10, later>>10, moved>>10, broken.Size>>10)
		Expect(broken.OutOfSync).To(BeNumerically(">", 0))
		Expect(moved).To(BeNumerically(">=", broken.OutOfSync))
		Expect(moved).To(BeNumerically("<=", broken.OutOfSync+later))
		Expect(moved).To(BeNumerically("<", broken.Size/8))
		Expect(world.oracle.Identical(ctx)).To(Succeed())
	}, SpecTimeout(specLimit))
})
