package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"gemel/node/replicator/control"
)

var _ = Describe("Verify", Label("full"), func() {
	It("compares both disks under load without a false alarm, finds what a hand changed, and repairs it", func(ctx SpecContext) {
		_, secondary := world.sides(ctx)
		l := world.startLoad(ctx, loadRate)
		clean, _ := world.verify(ctx, secondary) // either node may be asked
		Expect(clean.Found).To(BeZero(), "nobody changed anything: %+v", clean)
		l.awaitFlow(ctx, time.Minute)

		// Far from what the file system and the load write on this small volume.
		const at = 200 << 20
		world.spoil(secondary, at, at+4096, at+5*4096)
		want := []control.Range{{Offset: at, Length: 8192}, {Offset: at + 5*4096, Length: 4096}}
		found, code := world.verify(ctx, secondary)
		Expect(found.Ranges).To(Equal(want))
		Expect(code).To(Equal(1), "the exit code tells of differences")
		again, code := world.verify(ctx, secondary, "--repair")
		Expect(again.Ranges).To(Equal(want))
		Expect(again.Repaired).To(Equal(int64(3 * 4096)))
		Expect(code).To(Equal(0))
		after, _ := world.verify(ctx, secondary)
		Expect(after.Found).To(BeZero(), "%+v", after)
		l.stop(ctx)
		Expect(world.oracle.Identical(ctx)).To(Succeed())
	}, SpecTimeout(specLimit))
})

var _ = Describe("Trouble in the middle of a resync", Label("full"), func() {
	It("a pulled cable and a reset of the target: it goes on and ends with equal disks", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.yank(ctx, secondary)
		world.awaitAlone(ctx, primary)
		const much = 96 << 20
		world.command(ctx, primary, "dd", "if=/dev/urandom", "of=/srv/data/much", "bs=1M", fmt.Sprint("count=", much>>20), "conv=fsync")
		DeferCleanup(func(ctx SpecContext) { world.command(ctx, world.primary(ctx), "rm", "-f", "/srv/data/much") })
		// Slow enough to be met in the middle.
		world.command(ctx, primary, "gemel", "volume", "resync", volume, "--max-rate", "8MiB")
		whole := world.node(ctx, primary).Vol.OutOfSync
		Expect(whole).To(BeNumerically(">=", much))
		world.powerOn(ctx, secondary)
		world.awaitOutOfSync(ctx, primary, whole*6/10)
		world.isolate(ctx, secondary) // one cable would only move the connection to the other
		Eventually(ctx, func() string { return world.node(ctx, primary).Vol.Connection }).
			WithTimeout(30 * time.Second).ShouldNot(Equal(control.Connected))
		world.rejoin(secondary)
		world.awaitOutOfSync(ctx, primary, whole*4/10)
		world.reset(ctx, secondary)
		world.powerOn(ctx, secondary)
		world.command(ctx, primary, "gemel", "volume", "resync", volume, "--max-rate", "none")
		world.awaitHealthy(ctx)
		Expect(world.primary(ctx)).To(Equal(primary))
		Expect(world.oracle.Identical(ctx)).To(Succeed())
	}, SpecTimeout(specLimit))
})

// command runs one in a box; it must succeed.
func (p *pair) command(ctx context.Context, box string, command ...string) {
	GinkgoHelper()
	said, err := p.lab.Exec(ctx, box, command...)
	Expect(err).NotTo(HaveOccurred())
	Expect(said.Code).To(BeZero(), "%s on %s: %s%s", strings.Join(command, " "), box, said.Stdout, said.Stderr)
}

// awaitOutOfSync waits until a resync is under way and at most so much is left.
func (p *pair) awaitOutOfSync(ctx context.Context, primary string, left int64) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		v := p.node(ctx, primary).Vol
		g.Expect(v.Resync).NotTo(BeNil())
		g.Expect(v.OutOfSync).To(BeNumerically("<=", left))
	}).WithTimeout(90*time.Second).WithPolling(200*time.Millisecond).Should(Succeed(), p.statuses)
	v := p.node(ctx, primary).Vol
	fmt.Fprintf(GinkgoWriter, "trouble comes with %d KiB left to copy\n", v.OutOfSync>>10)
}

// verify runs a verify to its end, asked of a box, and returns what it tells.
func (p *pair) verify(ctx context.Context, box string, flags ...string) (control.Verify, int) {
	GinkgoHelper()
	command := append([]string{"gemel", "volume", "verify", volume, "--wait", "--json"}, flags...)
	said, err := p.lab.Exec(ctx, box, command...)
	Expect(err).NotTo(HaveOccurred())
	var v control.Verify
	Expect(json.Unmarshal([]byte(said.Stdout), &v)).To(Succeed(), said.Stdout+said.Stderr)
	fmt.Fprintf(GinkgoWriter, "%s: %s, %d bytes differ, %d repaired, %d skipped\n",
		strings.Join(command, " "), v.State, v.Found, v.Repaired, v.Skipped)
	return v, said.Code
}

// spoil changes a byte of some blocks of a server's disk, behind its back.
func (p *pair) spoil(server string, offsets ...int64) {
	GinkgoHelper()
	disk, err := p.lab.Disk(server)
	Expect(err).NotTo(HaveOccurred())
	file, err := os.OpenFile(disk.Loop, os.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = file.Close() }()
	block, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = unix.Munmap(block) }()
	for _, off := range slices.Sorted(slices.Values(offsets)) {
		_, err = file.ReadAt(block, off)
		Expect(err).NotTo(HaveOccurred())
		block[100] ^= 1
		_, err = file.WriteAt(block, off)
		Expect(err).NotTo(HaveOccurred())
	}
}
