package scenarios

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/lab/bundle"
	"gemel/lab/cluster"
	"gemel/node/event"
)

// historyLimit is how long an event may take to be in a box's file.
const historyLimit = 20 * time.Second

// history is what the boxes wrote down since the scenario began, oldest first. Power cuts
// take nothing of it that matters: the files lie on this host.
func (p *pair) history() []event.Event {
	GinkgoHelper()
	all, err := bundle.Merge(cluster.Histories(p.lab.Lab()))
	Expect(err).NotTo(HaveOccurred())
	return slices.DeleteFunc(all, func(e event.Event) bool { return e.Time.Before(p.begun) })
}

// expectEvents waits until a box has told of these kinds, in this order; others may lie between.
func (p *pair) expectEvents(ctx context.Context, box string, kinds ...string) {
	GinkgoHelper()
	Eventually(ctx, func() []string {
		wanted := kinds
		for _, e := range p.history() {
			if len(wanted) > 0 && e.Node == box && e.Kind == wanted[0] {
				wanted = wanted[1:]
			}
		}
		return wanted
	}).WithTimeout(historyLimit).WithPolling(200*time.Millisecond).
		Should(BeEmpty(), func() string { return box + " tells nothing of these, but\n" + p.tale() })
}

// expectReason waits until a box tells of a kind with a reason that has these words.
func (p *pair) expectReason(ctx context.Context, box, kind, words string) {
	GinkgoHelper()
	Eventually(ctx, func() bool {
		return slices.ContainsFunc(p.history(), func(e event.Event) bool {
			return e.Node == box && e.Kind == kind && strings.Contains(e.Reason, words)
		})
	}).WithTimeout(historyLimit).WithPolling(200*time.Millisecond).
		Should(BeTrue(), func() string { return box + " has no such reason, but\n" + p.tale() })
}

// expectNothingOf holds that nobody told of any of these kinds.
func (p *pair) expectNothingOf(kinds ...string) {
	GinkgoHelper()
	for _, e := range p.history() {
		Expect(kinds).NotTo(ContainElement(e.Kind), "%s: %s (%s)", e.Node, e.Text, e.Reason)
	}
}

// takeOver are the kinds that tell of a volume that moves.
var takeOver = []string{"campaign", "elected", "letting-go"}

// tale is the history, for a failure's text.
func (p *pair) tale() string {
	var text strings.Builder
	for _, e := range p.history() {
		fmt.Fprintf(&text, "%s %s %s: %s (%s)\n", e.Time.Format("15:04:05.000"), e.Node, e.Kind, e.Text, e.Reason)
	}
	return text.String()
}

var reigns = regexp.MustCompile(`(\S+) reigns in epoch (\d+)`)

// oneReignPerEpoch goes through the boxes' histories: no epoch has two owners.
func (p *pair) oneReignPerEpoch() {
	GinkgoHelper()
	owner := map[string]string{}
	for _, e := range p.history() {
		found := reigns.FindStringSubmatch(e.Text)
		if found == nil {
			continue
		}
		node, epoch := found[1], found[2]
		Expect(owner[epoch]).To(Or(BeEmpty(), Equal(node)), "two nodes were elected for epoch %s\n%s", epoch, p.tale())
		owner[epoch] = node
	}
}
