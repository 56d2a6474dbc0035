package scenarios

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/drive"
	"gemel/lab/drive/faults"
	"gemel/lab/oracle"
)

var _ = Describe("Disks", Label("full"), func() {
	It("a block of the Primary's disk cannot be read: it comes from the other and is written anew", func(ctx SpecContext) {
		primary := world.primary(ctx)
		const at = 200 << 20 // far from what the file system uses on this small volume
		_, err := world.lab.FailSector(ctx, primary, at, 4096, faults.Reads)
		Expect(err).NotTo(HaveOccurred())
		disk, err := world.lab.Disk(primary)
		Expect(err).NotTo(HaveOccurred())
		read := func(device string) int {
			said, err := world.lab.Exec(ctx, primary, "dd", "if="+device, "of=/dev/null", "bs=4096", "count=1",
				fmt.Sprint("skip=", at/4096), "iflag=direct")
			Expect(err).NotTo(HaveOccurred())
			return said.Code
		}
		Expect(read(disk.Loop)).NotTo(BeZero(), "the disk reads what it should not be able to")
		Expect(read("/run/gemel/dev/"+volume)).To(BeZero(), "the volume has two copies of the block")
		Eventually(ctx, func() int { return read(disk.Loop) }).WithTimeout(20*time.Second).
			Should(BeZero(), "the block was not written anew")
	}, SpecTimeout(specLimit))

	It("both disks lie about flushes, and both boxes lose their power under load: the oracle reports the loss", func(ctx SpecContext) {
		for _, name := range oracle.Servers {
			_, err := world.lab.FailDisk(ctx, name, faults.Fault{Kind: faults.LyingFlush})
			Expect(err).NotTo(HaveOccurred())
		}
		l := world.startLoad(ctx, loadRate)
		time.Sleep(2 * time.Second)
		world.atOnce(func(name string) {
			cut, err := world.lab.YankPowerSo(ctx, name, drive.Cut{Seed: 1, Keep: 0})
			Expect(err).NotTo(HaveOccurred())
			Expect(cut.Loss).NotTo(BeNil())
			Expect(cut.Loss.Writes).NotTo(BeEmpty(), "the disk of %s had nothing to lose", name)
		})
		acknowledged := l.stop(ctx).Acked
		world.heal(ctx)
		report, err := world.oracle.Acknowledged(ctx, l.ackLog())
		Expect(err).To(MatchError(oracle.ErrBroken), "the bench does not see what it should see")
		Expect(report.Found).To(BeNumerically("<", acknowledged))
		AddReportEntry("reported", fmt.Sprint(err))
		world.loads = nil // their loss is known now
	}, SpecTimeout(specLimit))
})
