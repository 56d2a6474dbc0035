package scenarios

import (
	"context"
	"fmt"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/lab/oracle"
)

var _ = Describe("Larger disks", Label("full"), func() {
	// In a lab of its own: a disk that became larger stays so.
	It("both disks become larger and the volume with them while a client writes; then the Primary loses its power: the other serves all of it",
		func(ctx SpecContext) {
			const small, large = 64 << 20, 192 << 20
			other := openSmall(ctx, small)
			primary, secondary := other.sides(ctx)
			was := other.node(ctx, primary).Vol.Size
			report := other.underLoad(ctx, func() {
				for _, name := range oracle.Servers {
					other.enlarge(ctx, name, large)
				}
				fmt.Fprint(GinkgoWriter, other.must(ctx, secondary, "gemel", "volume", "resize", volume))
			})
			Expect(report.Errors).To(BeZero())
			now := other.node(ctx, primary).Vol
			Expect(now.Size).To(BeNumerically(">", was+(large-small)*9/10))
			Expect(now.InSyncBy).To(HaveLen(2), "both stay in sync meanwhile")
			other.expectEvents(ctx, primary, "volume.resized")
			other.expectNothingOf(takeOver...)
			place, at := "/srv/data/more", int64(0)
			if !other.fileSystemGrew(ctx, primary) { // what it does not use is there to be written
				place, at = "/run/gemel/dev/"+volume, was>>20+1
			}
			other.must(ctx, primary, "dd", "if=/dev/urandom", "of="+place, "bs=1M", fmt.Sprint("seek=", at), "count=32", "conv=fsync,notrunc")
			read := []string{"sh", "-c", fmt.Sprintf("dd if=%s bs=1M skip=%d count=32 | sha256sum", place, at)}
			sum := other.must(ctx, primary, read...)
			other.yank(ctx, primary)
			other.awaitServing(ctx, secondary, 30*time.Second)
			Expect(other.must(ctx, secondary, read...)).To(Equal(sum))
			other.powerOn(ctx, primary)
			other.awaitHealthy(ctx)
			Expect(other.node(ctx, secondary).Vol.Size).To(Equal(now.Size))
			other.judge(ctx)
			_, err := other.lab.Down(ctx)
			Expect(err).NotTo(HaveOccurred())
		}, SpecTimeout(specLimit))
})

// openSmall builds a second lab, whose disks are files under loop devices.
func openSmall(ctx context.Context, size int64) *pair {
	GinkgoHelper()
	beside := openBeside(ctx)
	bin, err := binaries()
	Expect(err).NotTo(HaveOccurred())
	Expect(beside.Up(ctx, cluster.Options{BinDir: bin, DiskSize: size, CableRate: cluster.Gigabit, Model: cluster.PlainDisk})).To(Succeed())
	p := &pair{lab: beside, oracle: oracle.New(beside, volume)}
	p.create(ctx, volume)
	p.awaitHealthy(ctx)
	p.whole, p.begun = ofBeside(ctx), time.Now()
	return p
}

// fileSystemGrew waits until a Primary has told whether its file system fills the larger
// device. In a container it may not: that takes CAP_SYS_RESOURCE.
func (p *pair) fileSystemGrew(ctx context.Context, primary string) (grew bool) {
	GinkgoHelper()
	Eventually(ctx, func() bool {
		for _, e := range p.history() {
			if e.Node == primary && (e.Kind == "mount.grown" || e.Kind == "mount.not-grown") {
				grew = e.Kind == "mount.grown"
				return true
			}
		}
		return false
	}).WithTimeout(historyLimit).WithPolling(200*time.Millisecond).Should(BeTrue(), p.tale)
	return grew
}

// enlarge makes a plain disk larger, as a logical volume becomes.
func (p *pair) enlarge(ctx context.Context, server string, size int64) {
	GinkgoHelper()
	disk, err := p.lab.Disk(server)
	Expect(err).NotTo(HaveOccurred())
	Expect(os.Truncate(disk.Image, size)).To(Succeed())
	said, err := run(ctx, "losetup", "--set-capacity", disk.Loop)
	Expect(err).NotTo(HaveOccurred(), said)
}
