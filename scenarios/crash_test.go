package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/node/replicator/activity"
	"gemel/node/replicator/meta"
)

var _ = Describe("Crashes", Label("full"), func() {
	It("the Primary loses its power while a client writes: when it is back, what its activity log named is compared, and "+
		"nothing else but what the other wrote meanwhile", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.awaitShortLog(ctx, primary)
		world.underLoad(ctx, func() {
			world.yank(ctx, primary)
			world.awaitServing(ctx, secondary, 30*time.Second)
		})
		left := world.metadata(ctx, primary)
		Expect(left.Log.Counts).To(BeTrue(), "its log says that no Primary was at work")
		named := int64(len(left.Log.Extents)) * activity.ExtentSize
		before := world.node(ctx, secondary).Vol
		world.powerOn(ctx, primary)
		world.awaitHealthy(ctx)
		after := world.node(ctx, secondary).Vol
		compared := after.Counters.Same - before.Counters.Same
		sent := after.Counters.Resynced - before.Counters.Resynced
		later := after.Counters.Written - before.Counters.Written
		words := fmt.Sprintf("the log named %d extents, %d MiB of %d; the other wrote %d KiB alone; %d KiB were gone over, %d of them sent",
			len(left.Log.Extents), named>>20, after.Size>>20, before.OutOfSync>>10, (compared+sent)>>10, sent>>10)
		fmt.Fprintln(GinkgoWriter, words)
		AddReportEntry("crash resync", words)
		Expect(named).To(BeNumerically("<", after.Size/2), "the log names too much to prove anything")
		// The volume's last extent may be a shorter one.
		Expect(compared+sent).To(BeNumerically(">", named-activity.ExtentSize), "something that the log named was left out")
		Expect(compared + sent).To(BeNumerically("<=", named+left.Bits.OutOfSync+before.OutOfSync+later))
		world.expectEvents(ctx, secondary, "failure.major", "elected", "serving")
		Expect(world.primary(ctx)).To(Equal(secondary))
	}, SpecTimeout(specLimit))
})

// awaitShortLog waits until a Primary's activity log names a small part of the volume:
// what nobody wrote lately leaves it by itself.
func (p *pair) awaitShortLog(ctx context.Context, primary string) {
	GinkgoHelper()
	const few = diskSize / activity.ExtentSize / 4
	Eventually(ctx, func(g Gomega) {
		said, err := p.lab.Exec(ctx, primary, "gemel", "volume", "dump-metadata", volume, "--json")
		g.Expect(err).NotTo(HaveOccurred())
		var dump meta.Dump
		g.Expect(json.Unmarshal([]byte(said.Stdout), &dump)).To(Succeed(), said.Stdout+said.Stderr)
		g.Expect(dump.Log.Known).To(BeTrue())
		g.Expect(len(dump.Log.Extents)).To(BeNumerically("<=", few))
	}).WithTimeout(90*time.Second).WithPolling(time.Second).Should(Succeed(), "the activity log does not get shorter")
}

// metadata is what a box that is off left on its disk.
func (p *pair) metadata(ctx context.Context, server string) (dump meta.Dump) {
	GinkgoHelper()
	bin, err := binaries()
	Expect(err).NotTo(HaveOccurred())
	said, err := run(ctx, filepath.Join(bin, "gemel"), "volume", "dump-metadata", "--device", p.image(server), "--json")
	Expect(err).NotTo(HaveOccurred(), said)
	Expect(json.Unmarshal([]byte(said), &dump)).To(Succeed(), said)
	return dump
}

// image is the file on this host that holds what is on a server's platter.
func (p *pair) image(server string) string {
	GinkgoHelper()
	disk, err := p.lab.Disk(server)
	Expect(err).NotTo(HaveOccurred())
	return disk.Image
}
