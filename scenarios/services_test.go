package scenarios

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/lab/oracle"
)

// servicesLabel marks scenarios that need a lab with every service.
const servicesLabel = "services"

// allServices are several on one volume, and a second volume with an address of its own.
var allServices = []string{"nfs", "samba", "postgresql", "web", "web@second"}

// serviceLimit bounds a client's pause. It is no promise: four services start one after
// the other on a machine that does other things too. The pauses are printed.
const serviceLimit = 45 * time.Second

var _ = Describe("Services", Label("full", servicesLabel), func() {
	It("yank the power of the Primary under clients of Samba, PostgreSQL and a web server", Label("smoke"), func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		smb, sql, web := world.sambaClient(ctx), world.sqlClient(ctx), world.webClient(ctx, "data", cluster.VIP.String())
		time.Sleep(time.Second)
		world.yank(ctx, primary)
		for _, c := range []*client{smb, sql, web} {
			c.awaitFlow(ctx)
		}
		world.awaitServing(ctx, secondary, serviceLimit)
		for _, c := range []*client{smb, sql, web} {
			Expect(c.stop(ctx).pause).To(BeNumerically("<=", serviceLimit))
		}
		world.everyFileIsThere(ctx, smb)
		world.everyRowIsThere(ctx, sql)
	}, SpecTimeout(specLimit))

	It("an operator moves the volume under clients of Samba, PostgreSQL and a web server", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		smb, sql, web := world.sambaClient(ctx), world.sqlClient(ctx), world.webClient(ctx, "data", cluster.VIP.String())
		time.Sleep(time.Second)
		world.switchover(ctx, primary, volume)
		for _, c := range []*client{smb, sql, web} {
			c.awaitFlow(ctx)
			Expect(c.stop(ctx).pause).To(BeNumerically("<=", serviceLimit))
		}
		Expect(world.primary(ctx)).To(Equal(secondary))
		world.everyFileIsThere(ctx, smb)
		world.everyRowIsThere(ctx, sql)
	}, SpecTimeout(specLimit))

	It("yank the power of the Primary under pgbench: what it was told is committed is found", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.bench(ctx, func() { world.yank(ctx, primary) }, func() { world.awaitServing(ctx, secondary, serviceLimit) })
	}, SpecTimeout(specLimit))

	It("yank the power of one of two servers that each serve a volume: the other serves both", func(ctx SpecContext) {
		second := oracle.New(world.lab, cluster.Second)
		world.spread(ctx, second)
		here := world.webClient(ctx, "data", cluster.VIP.String())
		there := world.webClient(ctx, cluster.Second, cluster.SecondVIP.String())
		time.Sleep(time.Second)
		left := world.primary(ctx)
		world.yank(ctx, other(left))
		there.awaitFlow(ctx)
		here.awaitFlow(ctx)
		undisturbed, moved := here.stop(ctx), there.stop(ctx)
		Expect(undisturbed.errors).To(BeZero(), "the volume that stayed was disturbed")
		Expect(moved.pause).To(BeNumerically("<=", serviceLimit))
		Expect(world.primary(ctx)).To(Equal(left))
		Eventually(ctx, func() (string, error) { return second.Primary(ctx) }).WithTimeout(serviceLimit).Should(Equal(left))
	}, SpecTimeout(specLimit))

	It("a service does not start on one server only: the volume comes back to the other", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.run(ctx, secondary, "mv", "/usr/sbin/lighttpd", "/usr/sbin/lighttpd.away")
		// A box that was switched off meanwhile comes back as it was made.
		DeferCleanup(func(ctx SpecContext) {
			_, _ = world.lab.Exec(ctx, secondary, "mv", "-n", "/usr/sbin/lighttpd.away", "/usr/sbin/lighttpd")
		})
		web := world.webClient(ctx, "data", cluster.VIP.String())
		said, err := world.lab.Exec(ctx, primary, "gemel", "switchover", "--timeout", "60s", volume)
		Expect(err).NotTo(HaveOccurred())
		Expect(said.Code).NotTo(BeZero(), "the switchover is said to have gone well")
		world.awaitServing(ctx, primary, serviceLimit)
		web.awaitFlow(ctx)
		web.stop(ctx)
		Expect(world.events(ctx, secondary)).To(ContainSubstring("could not start the services"))
	}, SpecTimeout(specLimit))

	It("a service starts on neither server: the volume stays mounted, serves the others, and says so", func(ctx SpecContext) {
		primary := world.primary(ctx)
		for _, server := range oracle.Servers {
			world.run(ctx, server, "mv", "/usr/sbin/lighttpd", "/usr/sbin/lighttpd.away")
		}
		back := func(ctx context.Context) {
			for _, server := range oracle.Servers {
				_, _ = world.lab.Exec(ctx, server, "mv", "-n", "/usr/sbin/lighttpd.away", "/usr/sbin/lighttpd")
			}
		}
		DeferCleanup(func(ctx SpecContext) { back(ctx) })
		world.run(ctx, primary, "pkill", "-KILL", "-f", "lighttpd -D -f /run/gemel-web-srv-data/")
		// On which server depends on where services failed in the last hour.
		var keeps string
		Eventually(ctx, func(g Gomega) {
			serves, err := world.oracle.Primary(ctx)
			g.Expect(err).NotTo(HaveOccurred())
			node, err := world.oracle.Node(ctx, serves)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(node.Vol.Impaired).To(ContainSubstring("web"))
			g.Expect(node.Vol.Mount).NotTo(BeEmpty())
			g.Expect(world.events(ctx, serves)).To(ContainSubstring(`"services.stay"`))
			keeps = serves
			fmt.Fprintln(GinkgoWriter, serves, "serves without:", node.Vol.Impaired)
		}).WithTimeout(serviceLimit).WithPolling(300*time.Millisecond).Should(Succeed(), world.statuses)
		sql := world.sqlClient(ctx) // the services before it in the file are there for clients
		sql.stop(ctx)
		world.everyRowIsThere(ctx, sql)
		back(ctx)
		world.awaitServing(ctx, keeps, time.Minute+serviceLimit)
		Expect(world.events(ctx, keeps)).To(ContainSubstring(`"services.back"`))
	}, SpecTimeout(specLimit))

	It("a service does not stop: it is killed, and the volume moves", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		world.run(ctx, primary, "pkill", "-STOP", "-f", "lighttpd -D -f /run/gemel-web-srv-data/")
		world.switchover(ctx, primary, volume)
		Expect(world.primary(ctx)).To(Equal(secondary))
	}, SpecTimeout(specLimit))
})

// client is a loop on the client box that does numbered things with a service, one after
// the other, each until it succeeds.
type client struct {
	name string
	lab  *cluster.Cluster
	done chan struct{}
	said outcome
	over bool
}

// outcome is what a client saw.
type outcome struct {
	acked  int // 1 to this
	errors int
	pause  time.Duration // longest time without a success
}

var clientCount int

// client starts a loop over a shell command that does the thing of number $n.
func (p *pair) client(ctx context.Context, kind, do string) *client {
	GinkgoHelper()
	clientCount++
	c := &client{name: fmt.Sprintf("%s%d", kind, clientCount), lab: p.lab, done: make(chan struct{})}
	at := "/tmp/" + c.name
	script := strings.NewReplacer("@AT@", at, "@DO@", strings.ReplaceAll(do, "@NAME@", c.name)).Replace(`
n=0 errors=0 worst=0 last=$(date +%s%3N)
while [ ! -e @AT@.stop ]; do
	n=$((n + 1))
	until { @DO@; } >@AT@.out 2>&1; do
		errors=$((errors + 1))
		{ date +%T.%3N; cat @AT@.out; } >>@AT@.errors
		[ ! -e @AT@.stop ] || { n=$((n - 1)); break 2; }
		sleep 0.05
	done
	now=$(date +%s%3N)
	[ $((now - last)) -le $worst ] || worst=$((now - last))
	last=$now
	echo $n >@AT@.acked
done
echo $n $errors $worst >@AT@.report`)
	go func() {
		defer close(c.done)
		var out lines
		// The loop outlives the step that starts it, and ends by itself.
		if code, err := p.lab.Stream(context.WithoutCancel(ctx), "client", &out, &out, "bash", "-c", script); err != nil || code != 0 {
			fmt.Fprintf(GinkgoWriter, "%s: code %d, %v: %s\n", c.name, code, err, out.all())
		}
	}()
	DeferCleanup(func(ctx SpecContext) { c.stop(ctx) })
	Eventually(ctx, func() int { return c.acked(ctx) }).WithTimeout(30*time.Second).
		Should(BeNumerically(">", 0), func() string { return c.name + " does not begin: " + c.errors(ctx) })
	return c
}

func (c *client) acked(ctx context.Context) int {
	said, err := c.lab.Exec(ctx, "client", "cat", "/tmp/"+c.name+".acked")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(said.Stdout))
	return n
}

func (c *client) errors(ctx context.Context) string {
	said, err := c.lab.Exec(ctx, "client", "tail", "-n", "5", "/tmp/"+c.name+".errors")
	if err != nil {
		return err.Error()
	}
	return said.Stdout
}

// awaitFlow waits until some more things succeeded that began after now.
func (c *client) awaitFlow(ctx context.Context) {
	GinkgoHelper()
	from := c.acked(ctx)
	Eventually(ctx, func() int { return c.acked(ctx) }).WithTimeout(time.Minute).WithPolling(200*time.Millisecond).
		Should(BeNumerically(">", from+2), func() string { return c.name + " gets no answers: " + c.errors(ctx) + world.statuses() })
}

// stop ends the loop and returns what it saw. A second stop does nothing.
func (c *client) stop(ctx context.Context) outcome {
	GinkgoHelper()
	if c.over {
		return c.said
	}
	c.over = true
	at := "/tmp/" + c.name
	_, err := c.lab.Exec(ctx, "client", "touch", at+".stop")
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, c.done).WithTimeout(time.Minute).Should(BeClosed(), c.name+" does not end")
	report, err := c.lab.Exec(ctx, "client", "cat", at+".report")
	Expect(err).NotTo(HaveOccurred())
	var worst int64
	_, err = fmt.Sscan(report.Stdout, &c.said.acked, &c.said.errors, &worst)
	Expect(err).NotTo(HaveOccurred(), report.Stdout)
	c.said.pause = time.Duration(worst) * time.Millisecond
	line := fmt.Sprintf("%-8s %5d acknowledged %3d errors  %s: %s", fmt.Sprint(worst)+" ms", c.said.acked, c.said.errors,
		c.name, CurrentSpecReport().FullText())
	pauses = append(pauses, line)
	AddReportEntry("client's pause", line)
	return c.said
}

// sambaClient puts files, each over a connection of its own.
func (p *pair) sambaClient(ctx context.Context) *client {
	GinkgoHelper()
	return p.client(ctx, "smb", `yes "file $n of @NAME@" | head -c 4096 >@AT@.put &&
		timeout 6 smbclient //`+cluster.VIP.String()+`/share -N -c "put @AT@.put @NAME@-$n"`)
}

// everyFileIsThere reads back what a samba client was told is stored.
func (p *pair) everyFileIsThere(ctx context.Context, c *client) {
	GinkgoHelper()
	n := c.stop(ctx).acked
	said := p.run(ctx, "client", "bash", "-c", strings.NewReplacer("@NAME@", c.name, "@N@", strconv.Itoa(n), "@VIP@", cluster.VIP.String()).Replace(`
set -e
mkdir -p /tmp/@NAME@.back && cd /tmp/@NAME@.back
timeout 60 smbclient //@VIP@/share -N -c "prompt off; mget @NAME@-*" >/dev/null 2>&1
bad=0
for n in $(seq @N@); do
	yes "file $n of @NAME@" | head -c 4096 | cmp -s - @NAME@-$n || { bad=$((bad + 1)); echo "file $n is missing or wrong"; }
done
timeout 60 smbclient //@VIP@/share -N -c "del @NAME@-*" >/dev/null 2>&1
rm -rf /tmp/@NAME@.back
echo "$bad of @N@ files are missing or wrong"`))
	Expect(said).To(HaveSuffix(fmt.Sprintf("0 of %d files are missing or wrong", n)))
	fmt.Fprintln(GinkgoWriter, c.name+":", said)
}

const psql = `PGCONNECT_TIMEOUT=4 timeout 6 psql -h 198.18.0.250 -U postgres -qAt -v ON_ERROR_STOP=1`

// sqlClient inserts rows, each over a connection of its own.
func (p *pair) sqlClient(ctx context.Context) *client {
	GinkgoHelper()
	table := fmt.Sprintf("sql%d", clientCount+1)
	p.run(ctx, "client", "bash", "-c", psql+` -c "create table `+table+` (n bigint primary key)"`)
	return p.client(ctx, "sql", `[ "$(`+psql+` -c "insert into @NAME@ values ($n) on conflict (n) do update set n = excluded.n returning n")" = $n ]`)
}

// everyRowIsThere counts what a sql client was told is committed.
func (p *pair) everyRowIsThere(ctx context.Context, c *client) {
	GinkgoHelper()
	n := c.stop(ctx).acked
	found := p.run(ctx, "client", "bash", "-c", fmt.Sprintf(`%s -c "select count(*) from %s where n between 1 and %d"`, psql, c.name, n))
	Expect(found).To(Equal(strconv.Itoa(n)), "rows that were committed")
	p.run(ctx, "client", "bash", "-c", psql+` -c "drop table `+c.name+`"`)
}

// webClient reads a page of a volume.
func (p *pair) webClient(ctx context.Context, of, address string) *client {
	GinkgoHelper()
	serves, err := oracle.New(p.lab, of).Primary(ctx)
	Expect(err).NotTo(HaveOccurred())
	p.run(ctx, serves, "sh", "-c", fmt.Sprintf("echo 'the page of %s' >/srv/%s/www/page.txt && sync -f /srv/%s/www/page.txt", of, of, of))
	return p.client(ctx, "web", fmt.Sprintf(`[ "$(curl -s --max-time 6 http://%s/page.txt)" = "the page of %s" ] && sleep 0.02`, address, of))
}

// bench lets pgbench run into the trouble and compares its own account, a line for
// each transaction that it was told is committed, with what is found.
func (p *pair) bench(ctx context.Context, trouble, recover func()) {
	GinkgoHelper()
	tool := "PGHOST=198.18.0.250 PGUSER=postgres /usr/lib/postgresql/*/bin/pgbench"
	p.run(ctx, "client", "bash", "-c", psql+` -c "alter system set max_wal_size = '64MB'" -c "select pg_reload_conf()"; `+tool+" -q -i -s 1 postgres 2>&1")
	const clients = 4
	done := make(chan struct{})
	go func() {
		defer close(done)
		var out lines
		_, _ = p.lab.Stream(context.WithoutCancel(ctx), "client", &out, &out, "bash", "-c",
			fmt.Sprintf("cd /tmp && rm -f pgb.*; %s -c %d -T 100 -l --log-prefix=pgb postgres", tool, clients))
		fmt.Fprintln(GinkgoWriter, "pgbench:", out.all())
	}()
	logged := func() int {
		said, err := p.lab.Exec(ctx, "client", "sh", "-c", "cat /tmp/pgb.* 2>/dev/null | wc -l")
		Expect(err).NotTo(HaveOccurred())
		n, _ := strconv.Atoi(strings.TrimSpace(said.Stdout))
		return n
	}
	Eventually(ctx, logged).WithTimeout(30*time.Second).Should(BeNumerically(">", 100), "pgbench does not begin")
	trouble()
	Eventually(ctx, done).WithTimeout(2*time.Minute).Should(BeClosed(), "pgbench does not notice that its server is another one")
	recover()
	acked := logged()
	found, err := strconv.Atoi(p.run(ctx, "client", "bash", "-c", psql+` -c "select count(*) from pgbench_history"`))
	Expect(err).NotTo(HaveOccurred())
	Expect(found).To(And(BeNumerically(">=", acked), BeNumerically("<=", acked+clients)),
		"transactions found; each client may have one that was committed and not told")
	fmt.Fprintf(GinkgoWriter, "pgbench was told of %d transactions, %d are found\n", acked, found)
	p.run(ctx, "client", "bash", "-c", psql+` -c "drop table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers"; rm -f /tmp/pgb.*`)
}

// spread gives each server one of the two volumes.
func (p *pair) spread(ctx context.Context, second *oracle.Oracle) {
	GinkgoHelper()
	Eventually(ctx, func() error { return second.Healthy(ctx) }).WithTimeout(healLimit).WithPolling(300 * time.Millisecond).Should(Succeed())
	on, err := second.Primary(ctx)
	Expect(err).NotTo(HaveOccurred())
	if on == p.primary(ctx) {
		p.switchover(ctx, on, cluster.Second)
	}
	Eventually(ctx, func() error { return second.Healthy(ctx) }).WithTimeout(healLimit).WithPolling(300 * time.Millisecond).Should(Succeed())
}

func (p *pair) switchover(ctx context.Context, from, what string) {
	GinkgoHelper()
	p.run(ctx, from, "gemel", "switchover", "--timeout", "60s", what)
}

// events returns the newest part of a server's history, as it is kept.
func (p *pair) events(ctx context.Context, server string) string {
	GinkgoHelper()
	return p.run(ctx, server, "tail", "-n", "300", "/var/lib/gemel/events.jsonl")
}

// run runs a command in a box that must go well, and returns what it said.
func (p *pair) run(ctx context.Context, box string, command ...string) string {
	GinkgoHelper()
	said, err := p.lab.Exec(ctx, box, command...)
	Expect(err).NotTo(HaveOccurred())
	Expect(said.Code).To(BeZero(), "%s: %v: %s%s", box, command, said.Stdout, said.Stderr)
	return strings.TrimSpace(said.Stdout)
}
