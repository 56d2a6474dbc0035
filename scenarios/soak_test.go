package scenarios

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// soakRounds is how often the Primary is reset; SCENARIO_ROUNDS overrides it.
func soakRounds() int {
	if n, err := strconv.Atoi(os.Getenv("SCENARIO_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 20
}

var _ = Describe("Soak", Label("soak"), func() {
	It("press reset on the Primary under load, again and again: no acknowledged record is ever lost", func(ctx SpecContext) {
		var lengths []time.Duration
		for round := range soakRounds() {
			world.heal(ctx)
			primary := world.primary(ctx)
			report := world.underLoad(ctx, func() { world.reset(ctx, primary) })
			lengths = append(lengths, longest(report))
			world.heal(ctx)
			world.judge(ctx)
			world.loads = nil // judged, and their records forgotten
			fmt.Fprintf(GinkgoWriter, "round %d: reset of %s, pause %v, %d acknowledged, none lost\n",
				round+1, primary, longest(report), report.Acked)
		}
		slices.Sort(lengths)
		words := fmt.Sprintf("%d resets in a row: median pause %v, worst %v, 0 acknowledged records lost",
			len(lengths), lengths[len(lengths)/2], lengths[len(lengths)-1])
		AddReportEntry("soak", words)
		fmt.Println(words)
		Expect(lengths[len(lengths)-1]).To(BeNumerically("<=", failOverLimit))
	}, SpecTimeout(3*time.Hour))
})
