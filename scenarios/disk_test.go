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
