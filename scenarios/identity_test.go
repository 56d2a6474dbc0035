package scenarios

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/lab/oracle"
	"gemel/node/replicator/control"
)

var _ = Describe("Who is who", Label("full"), func() {
	It("the Secondary comes back with a certificate of another cluster: nobody speaks with it, it says why, and the Primary goes on",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			strangers := world.strangeKeys(ctx)
			report := world.underLoad(ctx, func() {
				world.replace(ctx, secondary, "keys", filepath.Join(strangers, secondary))
				world.restartDaemons(ctx, secondary)
				world.awaitAlone(ctx, primary)
				// Who dials sees it in the connection, too; which of them that is depends on their order.
				world.expectReason(ctx, secondary, "witness.down", "not signed by this cluster's authority")
				Expect(world.node(ctx, primary).Vol.Connection).NotTo(Equal(control.Connected))
			})
			Expect(report.Errors).To(BeZero())
			Expect(world.primary(ctx)).To(Equal(primary))
		}, SpecTimeout(specLimit))

	It("the witness's place is taken by one of another cluster: the pair goes on and says so; then the Primary dies, and the "+
		"other refuses until the right one is back", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		strangers := world.strangeKeys(ctx)
		world.writeSome(ctx)
		world.replace(ctx, "witness", "keys", filepath.Join(strangers, "witness"))
		world.restartDaemons(ctx, "witness")
		for _, server := range oracle.Servers {
			Eventually(ctx, func() bool { return world.node(ctx, server).Witness.Reachable }).
				WithTimeout(30*time.Second).Should(BeFalse(), server)
		}
		Expect(world.node(ctx, primary).Vol.Phase).To(Equal("serving"))
		world.yank(ctx, primary)
		world.expectRefusal(ctx, secondary, "witness")
		world.putBack(ctx)
		world.awaitServing(ctx, secondary, 30*time.Second)
	}, SpecTimeout(specLimit))

	It("the Secondary comes back under the Primary's name, with its configuration and its keys: it becomes nothing, "+
		"and the Primary is not disturbed", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		own, err := os.ReadFile(world.lab.ConfigFile(primary))
		Expect(err).NotTo(HaveOccurred())
		// On real boxes the device has the same name on both; here each has its own.
		copied := strings.ReplaceAll(string(own), world.device(primary), world.device(secondary))
		config := filepath.Join(GinkgoT().TempDir(), "gemel.yaml")
		Expect(os.WriteFile(config, []byte(copied), 0o644)).To(Succeed())
		report := world.underLoad(ctx, func() {
			world.replace(ctx, secondary, "keys", filepath.Join(world.etc(primary), "keys"))
			world.replace(ctx, secondary, "gemel.yaml", config)
			world.restartDaemons(ctx, secondary)
			world.awaitAlone(ctx, primary)
			Consistently(ctx, func(g Gomega) {
				g.Expect(world.node(ctx, primary).Vol.Phase).To(Equal("serving"))
				g.Expect(world.oracle.OneAddressHolder(ctx)).To(Succeed())
			}).WithTimeout(10 * time.Second).WithPolling(time.Second).Should(Succeed())
			if twin, err := world.oracle.Node(ctx, secondary); err == nil { // it may not even start
				Expect(twin.Vol.Role).NotTo(Equal(control.Primary))
			}
		})
		Expect(report.Errors).To(BeZero())
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		Expect(world.primary(ctx)).To(Equal(primary))
	}, SpecTimeout(specLimit))
})

func (p *pair) etc(box string) string { return filepath.Dir(p.lab.ConfigFile(box)) }

func (p *pair) device(server string) string {
	GinkgoHelper()
	disk, err := p.lab.Disk(server)
	Expect(err).NotTo(HaveOccurred())
	return disk.Loop
}

// strangeKeys makes the keys of another cluster of the same name, and returns where they are.
func (p *pair) strangeKeys(ctx context.Context) string {
	GinkgoHelper()
	bin, err := binaries()
	Expect(err).NotTo(HaveOccurred())
	dir := filepath.Join(GinkgoT().TempDir(), "keys")
	said, err := exec.CommandContext(ctx, filepath.Join(bin, "gemel"), "keys", "init", "--dir", dir, "--cluster", p.lab.Lab(),
		"--node", "server1", "--node", "server2", "--witness", "witness", "--client", "client").CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(said))
	return dir
}

// replaced is a file or directory of a box's /etc/gemel whose place another took.
type replaced struct{ box, place, kept string }

// replace puts another file or directory in a place of a box's /etc/gemel, until putBack,
// which the scenario's end calls at the latest. Daemons read it at their start.
func (p *pair) replace(ctx context.Context, box, name, with string) {
	GinkgoHelper()
	place := filepath.Join(p.etc(box), name)
	kept := filepath.Join(GinkgoT().TempDir(), "kept")
	Expect(copyAll(place, kept)).To(Succeed())
	p.replaced = append(p.replaced, replaced{box: box, place: place, kept: kept})
	Expect(copyAll(with, place)).To(Succeed())
}

// putBack restores what replace took the place of, for daemons that start anew.
func (p *pair) putBack(ctx context.Context) {
	GinkgoHelper()
	was := p.replaced
	p.replaced = nil
	for _, r := range was {
		Expect(copyAll(r.kept, r.place)).To(Succeed())
	}
	for _, r := range was {
		if err := p.endDaemons(ctx, r.box); !errors.Is(err, cluster.ErrOff) {
			Expect(err).NotTo(HaveOccurred())
		}
	}
}

// copyAll copies a file, or a directory of files, with its mode.
func copyAll(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, info.Mode())
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, info.Mode()); err != nil {
		return err
	}
	for _, entry := range entries {
		if err := copyAll(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// restartDaemons ends the daemons of a box in order; its init starts them again. One that
// cannot start with what it finds is not there to be ended.
func (p *pair) restartDaemons(ctx context.Context, box string) {
	GinkgoHelper()
	Expect(p.endDaemons(ctx, box)).To(Succeed())
}

func (p *pair) endDaemons(ctx context.Context, box string) error {
	_, err := p.lab.Exec(ctx, box, "sh", "-c", `for d in agent replicator witness; do pkill -x -f "gemel $d .*"; done`)
	return err
}
