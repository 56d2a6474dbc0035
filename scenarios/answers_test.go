package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/cluster"
	"gemel/lab/whohas"
)

// watch is a client that asks ten times a second who has the cluster's address.
// It runs beside every scenario unless SCENARIO_ANSWERS=off.
type watch struct {
	lab    *cluster.Cluster
	lines  lines
	done   chan struct{}
	err    error
	excuse string // why both servers may answer in this scenario; empty: they must not
	cut    string // why nobody can tell what was heard; empty: it must be told
}

const watchPID = "/tmp/who-has.pid"

func (p *pair) watchAddress(ctx context.Context) {
	GinkgoHelper()
	p.watched = nil
	if os.Getenv("SCENARIO_ANSWERS") == "off" {
		return
	}
	w := &watch{lab: p.lab, done: make(chan struct{})}
	p.watched = w
	go w.run(context.WithoutCancel(ctx)) // ended by stop
}

func (w *watch) run(ctx context.Context) {
	defer close(w.done)
	var code int
	code, w.err = w.lab.Stream(ctx, "client", &w.lines, &w.lines, "sh", "-c", fmt.Sprintf(
		"echo $$ >%s; exec /opt/gemel/bin/lab who-has --interface %s %s", watchPID, cluster.NIC(cluster.LAN), cluster.VIP))
	if w.err == nil && code != 0 {
		w.err = fmt.Errorf("who-has ended with code %d: %s", code, w.lines.all())
	}
}

// stop ends the questions and returns what was heard.
func (w *watch) stop(ctx context.Context) (heard whohas.Report) {
	GinkgoHelper()
	_, err := w.lab.Exec(ctx, "client", "sh", "-c", "kill -INT $(cat "+watchPID+")")
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, w.done).WithTimeout(20*time.Second).Should(BeClosed(), "who-has does not end")
	Expect(w.err).NotTo(HaveOccurred())
	Expect(json.Unmarshal(w.lines.last(), &heard)).To(Succeed(), w.lines.all())
	return heard
}

// bothMayAnswer excuses a scenario in which a person makes two holders: an operator who
// takes a volume from a Primary that lives gets two until they hear each other.
func (p *pair) bothMayAnswer(why string) {
	if p.watched != nil {
		p.watched.excuse = why
	}
}

// askerDies excuses a scenario that switches the client off: the questions end with it,
// and so does what was heard.
func (p *pair) askerDies(why string) {
	if p.watched != nil {
		p.watched.cut = why
	}
}

// judgeAnswers holds that no question was answered by both servers.
func (p *pair) judgeAnswers(ctx context.Context) {
	GinkgoHelper()
	w := p.watched
	if w == nil {
		return
	}
	p.watched = nil
	if w.cut != "" {
		Eventually(ctx, w.done).WithTimeout(20*time.Second).Should(BeClosed(), "who-has does not end with its box")
		fmt.Fprintln(GinkgoWriter, "who answered is not known:", w.cut)
		return
	}
	heard := w.stop(ctx)
	fmt.Fprintf(GinkgoWriter, "asked %d times who has %s: answers by MAC %v, nobody %d times, several %d times, %d changes\n",
		heard.Asked, cluster.VIP, heard.ByMAC, heard.Silent, len(heard.Twice), len(heard.Changes))
	if w.excuse != "" {
		fmt.Fprintln(GinkgoWriter, "both servers may have answered:", w.excuse)
		return
	}
	Expect(p.oracle.OneAnswerAtATime(ctx, &heard)).To(Succeed())
}
