package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/badcable"
	"gemel/lab/cluster"
	"gemel/lab/oracle"
	"gemel/node/event"
)

const (
	// saturatedFor is how long a resync fills the only link, and burners the processors.
	saturatedFor = 40 * time.Second
	// saturatedRate is that of the link, in bits per second, and saturatedData so many MiB
	// that a resync of them fills it for longer than that.
	saturatedRate, saturatedData = 24_000_000, 160

	flapFor, flapSoakFor = time.Minute, 5 * time.Minute
	flapDown, flapUp     = 600 * time.Millisecond, 1900 * time.Millisecond
)

var _ = Describe("Detection", Label("full"), func() {
	It("a resync fills the only link between the servers, and every processor is busy, while a client writes: "+
		"nobody is taken for dead, and nothing moves", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.isolate(ctx, secondary)
		world.awaitAlone(ctx, primary)
		DeferCleanup(func(ctx SpecContext) { world.command(ctx, world.primary(ctx), "rm", "-f", "/srv/data/fill") })
		world.must(ctx, primary, "sh", "-c", fmt.Sprintf("dd if=/dev/urandom of=/srv/data/fill bs=1M count=%d conv=fsync", saturatedData))
		slow := badcable.Quality{Rate: saturatedRate}
		Expect(world.lab.DegradeCable(ctx, secondary, cluster.LAN, cluster.BothWays, slow)).To(Succeed())
		Expect(world.lab.PlugCable(secondary, cluster.LAN)).To(Succeed())
		world.awaitResync(ctx, primary)
		reign, since := world.node(ctx, primary).Vol.Epoch, time.Now()
		report := world.underLoad(ctx, func() {
			for _, name := range oracle.Servers {
				world.burn(ctx, name, saturatedFor)
			}
			Consistently(ctx, func() []event.Event { return world.eventsOf(ctx, since, "failure.major", "elected") }).
				WithTimeout(saturatedFor).WithPolling(5 * time.Second).Should(BeEmpty())
		})
		vol := world.node(ctx, primary).Vol
		fmt.Fprintf(GinkgoWriter, "client's longest pause %v, resync %+v\n", longest(report), vol.Resync)
		Expect(vol.Resync).NotTo(BeNil(), "the resync was over before the end: nothing was proved")
		Expect(vol.Epoch).To(Equal(reign))
		Expect(report.Errors).To(BeZero())
		Expect(world.lab.MendCable(ctx, secondary, cluster.LAN)).To(Succeed())
		world.rejoin(secondary)
		world.awaitHealthy(ctx)
		Expect(world.primary(ctx)).To(Equal(primary))
	}, SpecTimeout(specLimit))

	DescribeTable("a cable of the Primary loses and finds its carrier again and again while a client writes: "+
		"nothing is lost, and the volume does not go to and fro", func(ctx SpecContext, cable string, moves int, d time.Duration) {
		primary, _ := world.sides(ctx)
		since := time.Now()
		report := world.underLoad(ctx, func() {
			for end := time.Now().Add(d); time.Now().Before(end); {
				world.pull(ctx, primary, cable)
				time.Sleep(flapDown)
				Expect(world.lab.PlugCable(primary, cable)).To(Succeed())
				time.Sleep(flapUp)
			}
		})
		world.awaitHealthy(ctx)
		elected := len(world.eventsOf(ctx, since, "elected"))
		fmt.Fprintf(GinkgoWriter, "client's longest pause %v, the volume moved %d times\n", longest(report), elected)
		Expect(longest(report)).To(BeNumerically("<=", failOverLimit))
		Expect(elected).To(BeNumerically("<=", moves))
	},
		Entry("private cable", cluster.Private, 0, flapFor, SpecTimeout(specLimit)),
		Entry("LAN cable", cluster.LAN, 2, flapFor, SpecTimeout(specLimit)),
		Entry("private cable, five minutes", Label("soak"), cluster.Private, 0, flapSoakFor, SpecTimeout(specLimit+flapSoakFor)),
		Entry("LAN cable, five minutes", Label("soak"), cluster.LAN, 2, flapSoakFor, SpecTimeout(specLimit+flapSoakFor)),
	)

	It("a stranger has the address: its holder finds out and says so, a switchover to the other ends with the "+
		"stranger's MAC, and the volume is served again once the stranger is gone", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		nic, since := cluster.NIC(cluster.LAN), time.Now()
		mac := strings.TrimSpace(world.must(ctx, "witness", "cat", "/sys/class/net/"+nic+"/address"))
		world.must(ctx, "witness", "ip", "address", "add", cluster.VIP.String()+"/32", "dev", nic)
		leave := func(ctx context.Context) {
			_, err := world.lab.Exec(ctx, "witness", "ip", "address", "del", cluster.VIP.String()+"/32", "dev", nic)
			Expect(err).NotTo(HaveOccurred())
		}
		DeferCleanup(leave) // a second time does no harm
		Eventually(ctx, func(g Gomega) {
			node, err := world.oracle.Node(ctx, primary)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(node.Vol.Addresses).NotTo(BeEmpty())
			g.Expect(node.Vol.Addresses[0].Rival).To(Equal(mac))
		}).WithTimeout(time.Minute).WithPolling(time.Second).Should(Succeed(), "the holder does not notice the stranger")
		Expect(world.eventsOf(ctx, since, "address.conflict")).NotTo(BeEmpty())
		said, err := world.lab.Exec(ctx, primary, "gemel", "switchover", "--timeout", "20s", volume)
		Expect(err).NotTo(HaveOccurred())
		fmt.Fprintf(GinkgoWriter, "switchover ends with code %d: %s%s\n", said.Code, said.Stdout, said.Stderr)
		Eventually(ctx, func() string {
			var words []string
			for _, e := range world.eventsOf(ctx, since, "step.error") {
				words = append(words, e.Node+": "+e.Reason)
			}
			return strings.Join(words, "\n")
		}).WithTimeout(30 * time.Second).WithPolling(time.Second).
			Should(And(ContainSubstring(secondary+": "), ContainSubstring("is taken: the box with MAC "+mac)))
		leave(ctx)
		world.awaitHealthy(ctx)
	}, SpecTimeout(specLimit))
})

// awaitResync waits until a resync moves data.
func (p *pair) awaitResync(ctx context.Context, primary string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		node, err := p.oracle.Node(ctx, primary)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(node.Vol.Resync).NotTo(BeNil())
	}).WithTimeout(30*time.Second).WithPolling(200*time.Millisecond).
		Should(Succeed(), func() string { return "no resync runs\n" + p.statuses() })
}

// burn keeps a box's processors busy for a while.
func (p *pair) burn(ctx context.Context, box string, d time.Duration) {
	GinkgoHelper()
	p.must(ctx, box, "sh", "-c", fmt.Sprintf(
		"for i in 1 2 3; do timeout %d sh -c 'while :; do :; done' >/dev/null 2>&1 & done", int(d.Seconds())))
}

// eventsOf returns what both servers told since a moment, of some kinds only.
func (p *pair) eventsOf(ctx context.Context, since time.Time, kinds ...string) (found []event.Event) {
	GinkgoHelper()
	for _, name := range oracle.Servers {
		for line := range strings.Lines(p.must(ctx, name, "gemel", "events", "--count", "300", "--json")) {
			var e event.Event
			Expect(json.Unmarshal([]byte(line), &e)).To(Succeed(), line)
			for _, kind := range kinds {
				if e.Kind == kind && e.Time.After(since) {
					found = append(found, e)
				}
			}
		}
	}
	return found
}
