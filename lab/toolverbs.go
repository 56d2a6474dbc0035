package main

import (
	"github.com/spf13/cobra"

	"gemel/lab/whohas"
)

// toolVerbs look at a lab as a whole, or play with it.
func (a *app) toolVerbs() []*cobra.Command {
	return []*cobra.Command{a.walk(), a.graph(), a.watch(), a.drill(), whohas.Command()}
}
