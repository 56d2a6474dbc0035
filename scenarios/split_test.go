package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/node/replicator/control"
)

var _ = Describe("Split brain", Label("full"), func() {
	It("an operator grabs the volume on a server that is cut off while the other serves alone: both sides stand alone "+
		"and say so, the operator keeps one, and what the other lost is brought back", func(ctx SpecContext) {
		first, second := world.sides(ctx)
		world.bothMayAnswer("an operator takes the volume while the other server serves it")
		world.apart(ctx, first, second)
		world.rejoin(first)
		Expect(world.lab.PlugCable("witness", cluster.LAN)).To(Succeed())
		world.rejoin(second)
		for _, name := range []string{first, second} {
			world.awaitApart(ctx, name, "split-brain")
			Expect(world.must(ctx, name, "gemel", "events", "--json")).To(ContainSubstring("replication.split-brain"))
		}
		winner := world.awaitOneServing(ctx)
		loser := other(winner)
		refused, err := world.lab.Exec(ctx, winner, "gemel", "resolve", volume, "--keep", loser, "--yes")
		Expect(err).NotTo(HaveOccurred())
		Expect(refused.Code).To(Equal(3), refused.Stdout+refused.Stderr)
		Expect(refused.Stderr).To(ContainSubstring("it must let go first"))
		fmt.Fprint(GinkgoWriter, world.must(ctx, winner, "gemel", "resolve", volume, "--keep", winner, "--yes"))
		world.awaitHealthy(ctx)
		Expect(world.primary(ctx)).To(Equal(winner))
		Expect(world.must(ctx, winner, "cat", recordOf(winner))).To(ContainSubstring(winner))
		Expect(world.must(ctx, winner, "ls", "/srv/data")).NotTo(ContainSubstring("by-" + loser))
		world.bringBack(ctx, loser)
		world.must(ctx, winner, "rm", "-f", recordOf(winner))
	}, SpecTimeout(specLimit))
})

// recordOf is a file that one server wrote alone.
func recordOf(server string) string { return "/srv/data/by-" + server }

func (p *pair) writeRecord(ctx context.Context, server string) {
	GinkgoHelper()
	p.must(ctx, server, "sh", "-c", "echo 'written by "+server+" alone' >"+recordOf(server)+" && sync "+recordOf(server))
}

// awaitOneServing waits until the voters let one server reign, and returns it.
// Which one they choose depends on who is heard first: both have a claim.
func (p *pair) awaitOneServing(ctx context.Context) (name string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		var err error
		name, err = p.oracle.Primary(ctx)
		g.Expect(err).NotTo(HaveOccurred())
		node, err := p.oracle.Node(ctx, name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Phase).To(Equal("serving"))
	}).WithTimeout(time.Minute).WithPolling(500*time.Millisecond).
		Should(Succeed(), func() string { return "nobody serves\n" + p.statuses() })
	return name
}

// apart makes both servers write alone: the Primary with the witness's vote, the
// other by an operator's word while it sees neither.
func (p *pair) apart(ctx context.Context, primary, secondary string) {
	GinkgoHelper()
	p.isolate(ctx, secondary)
	p.awaitAlone(ctx, primary)
	p.writeRecord(ctx, primary)
	p.isolate(ctx, primary)
	p.pull(ctx, "witness", cluster.LAN)
	Expect(p.lab.PlugCable(secondary, cluster.LAN)).To(Succeed())
	Eventually(ctx, func(g Gomega) { // until the lease that its own register granted is over
		said, err := p.lab.Exec(ctx, secondary, "gemel", "grab", volume, "--yes-i-know")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(said.Code).To(BeZero(), said.Stdout+said.Stderr)
	}).WithTimeout(time.Minute).WithPolling(time.Second).Should(Succeed())
	p.awaitServing(ctx, secondary, 30*time.Second)
	p.writeRecord(ctx, secondary)
	p.must(ctx, primary, "cat", recordOf(primary)) // it serves still: nobody told it
}

// awaitApart waits until a server stands alone and names the reason.
func (p *pair) awaitApart(ctx context.Context, name, reason string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		node, err := p.oracle.Node(ctx, name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Connection).To(Equal(control.StandAlone))
		g.Expect(node.Vol.Apart).NotTo(BeNil())
		g.Expect(node.Vol.Apart.Name).To(Equal(reason))
		g.Expect(node.Vol.Apart.Here.Changed).To(BeNumerically(">", 0))
		g.Expect(node.Vol.Apart.There.Changed).To(BeNumerically(">", 0))
	}).WithTimeout(time.Minute).WithPolling(300*time.Millisecond).
		Should(Succeed(), func() string { return name + " does not notice\n" + p.statuses() })
}

// bringBack finds the loser's record in an image made of its undo file.
func (p *pair) bringBack(ctx context.Context, loser string) {
	GinkgoHelper()
	var files []struct {
		Path  string `json:"path"`
		Bytes int64  `json:"bytes"`
	}
	Expect(json.Unmarshal([]byte(p.must(ctx, loser, "gemel", "undo", "list", "--json")), &files)).To(Succeed())
	Expect(files).NotTo(BeEmpty())
	file := files[len(files)-1]
	fmt.Fprintf(GinkgoWriter, "%s keeps %d bytes\n", file.Path, file.Bytes)
	p.must(ctx, loser, "gemel", "undo", "show", file.Path)
	const image = "/var/tmp/lost.img"
	p.must(ctx, loser, "gemel", "undo", "restore", file.Path, "--to", image)
	checked, err := p.lab.Exec(ctx, loser, "e2fsck", "-fy", image) // plays the journal, as a mount would
	Expect(err).NotTo(HaveOccurred())
	Expect(checked.Code).To(BeNumerically("<=", 1), checked.Stdout+checked.Stderr)
	Expect(p.must(ctx, loser, "debugfs", "-R", "cat /by-"+loser, image)).To(ContainSubstring("written by " + loser))
	p.must(ctx, loser, "rm", "-f", image, file.Path)
}

// must runs a command on a box that has to end well, and returns what it said.
func (p *pair) must(ctx context.Context, box string, command ...string) string {
	GinkgoHelper()
	said, err := p.lab.Exec(ctx, box, command...)
	Expect(err).NotTo(HaveOccurred())
	Expect(said.Code).To(BeZero(), "%s on %s: %s%s", strings.Join(command, " "), box, said.Stdout, said.Stderr)
	return said.Stdout
}
