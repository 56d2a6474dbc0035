package scenarios

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"gemel/node/api"
	"gemel/node/event"
)

var _ = Describe("What an operator asks for", Label("soak", operatorLabel), func() {
	It("what if the Primary were killed, and then it is while a client writes: who serves, and by which steps, is as foretold",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			world.switchover(ctx, primary, volume) // so that either has done each step once
			world.awaitHealthy(ctx)
			primary, secondary = secondary, primary
			var told []api.WhatIf
			Expect(json.Unmarshal([]byte(world.must(ctx, secondary, "gemel", "whatif", "kill", primary, "--json")), &told)).To(Succeed())
			Expect(told).To(HaveLen(1))
			Expect(told[0].Before).To(Equal(primary))
			Expect(told[0].After).To(Equal(secondary))
			asked := time.Now()
			report := world.underLoad(ctx, func() { world.yank(ctx, primary) })
			world.awaitServing(ctx, secondary, failOverLimit)
			var foretold, done []string
			for _, line := range told[0].Lines {
				if line.Step && line.Node == secondary {
					foretold = append(foretold, line.Text)
				}
			}
			world.expectEvents(ctx, secondary, "failure.major", "elected", "serving")
			for _, e := range world.history() {
				if e.Node == secondary && e.Kind == "step.done" && e.Time.After(asked) {
					done = append(done, e.Fields["step"])
				}
			}
			fmt.Fprintf(GinkgoWriter, "foretold: %v, %q\ncame: %v for the client, %q\n", told[0].Pause, foretold, longest(report), done)
			Expect(slices.Compact(done)).To(Equal(foretold))
		}, SpecTimeout(specLimit))

	It("a node is put on standby while a client writes: the volume moves, nobody takes it back, and not when the other dies either; "+
		"then standby ends", func(ctx SpecContext) {
		primary, secondary := world.sides(ctx)
		DeferCleanup(func(ctx SpecContext) { _, _ = world.lab.Exec(ctx, primary, "gemel", "standby", primary, "--undo") })
		report := world.underLoad(ctx, func() {
			world.must(ctx, primary, "gemel", "standby", primary)
			world.awaitServing(ctx, secondary, failOverLimit)
		})
		Expect(report.Errors).To(BeZero())
		world.yank(ctx, secondary)
		world.expectRefusal(ctx, primary, "standby")
		world.must(ctx, primary, "gemel", "standby", primary, "--undo")
		world.awaitServing(ctx, primary, 30*time.Second)
	}, SpecTimeout(specLimit))

	It("the pair is in maintenance and the Primary dies while a client writes: nobody serves and it is said why, until maintenance ends",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			DeferCleanup(func(ctx SpecContext) { _, _ = world.lab.Exec(ctx, secondary, "gemel", "maintenance", "off") })
			world.underLoad(ctx, func() {
				world.must(ctx, primary, "gemel", "maintenance", "on", "--for", "1h")
				world.yank(ctx, primary)
				world.expectRefusal(ctx, secondary, "aintenance")
				// The other node, which is off, cannot be told yet.
				Expect(world.says(ctx, secondary, "gemel", "maintenance", "off").Code).To(BeElementOf(0, 1))
				world.awaitServing(ctx, secondary, 30*time.Second)
			})
		}, SpecTimeout(specLimit))

	It("a drill is made while a client writes: the volume moves, the client sees no error, and the next drill brings it back",
		func(ctx SpecContext) {
			primary, secondary := world.sides(ctx)
			report := world.underLoad(ctx, func() {
				world.must(ctx, primary, "gemel", "drill", "now", volume)
				world.awaitServing(ctx, secondary, failOverLimit)
				world.awaitHealthy(ctx)
				world.must(ctx, primary, "gemel", "drill", "now", volume)
				world.awaitServing(ctx, primary, failOverLimit)
			})
			Expect(report.Errors).To(BeZero())
			Expect(longest(report)).To(BeNumerically("<=", failOverLimit)) // two switchovers, and what lies between
			Expect(slices.ContainsFunc(world.history(), func(e event.Event) bool { return e.Kind == "drill.done" })).To(BeTrue(), world.tale())
			world.expectNothingOf("drill.failed", "drill.skipped")
		}, SpecTimeout(specLimit))
})
