// Package tour shows a newcomer what the pair does: the first sync, then a reset of
// the Primary under a writing client, told second by second, and an account at the
// end. It uses the product as a person would, by its command line, and is not a
// test: the scenarios judge, the tour shows.
package tour

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"gemel/lab/cluster"
)

// Lab is what the tour needs of a lab that is up; *cluster.Cluster is one.
type Lab interface {
	Lab() string
	LogDir(node string) string
	Status(ctx context.Context) (cluster.Status, error)
	Exec(ctx context.Context, node string, command ...string) (cluster.Result, error)
	Stream(ctx context.Context, node string, stdout, stderr io.Writer, command ...string) (int, error)
	PlugCable(node, cable string) error
	PressReset(ctx context.Context, node string) (cluster.PowerCut, error)
}

// ErrLost says that the client's records were not all found again.
var ErrLost = errors.New("acknowledged records were lost")

const (
	volume   = "data"
	export   = "/srv/data"
	patience = 60 * time.Second // without any progress
	calm     = 5 * time.Second  // of writing before the reset
	boundary = 30 * time.Second // of resync that the tour waits for
)

type tour struct {
	lab    Lab
	screen *Screen
	began  time.Time
}

// Run gives the tour on a lab that is up and leaves it running. An error says in
// words what did not come about, and where to look.
func Run(ctx context.Context, lab Lab, screen *Screen) error {
	t := &tour{lab: lab, screen: screen, began: time.Now()}
	if err := t.run(ctx); err != nil {
		screen.EndBar()
		if ctx.Err() != nil {
			return fmt.Errorf("the tour was interrupted (%w); the lab goes on running", ctx.Err())
		}
		return fmt.Errorf("the tour ends early: %w\n  logs: %s\n  look: bin/lab exec --lab %s server1 gemel status",
			err, filepath.Join(lab.LogDir("server*"), "*"), lab.Lab())
	}
	return nil
}

func (t *tour) run(ctx context.Context) error {
	if err := t.plugAll(ctx); err != nil {
		return err
	}
	t.screen.Head("1. Two disks become one volume")
	created, err := t.createAll(ctx)
	if err != nil {
		return err
	}
	first, err := t.waitHealthy(ctx, created)
	if err != nil {
		return err
	}
	if err := t.waitExport(ctx); err != nil {
		return err
	}
	t.screen.Head("2. Reset of the Primary while a client writes")
	end, err := t.reset(ctx)
	if err != nil {
		return err
	}
	end.first = first
	t.screen.Head("3. The account")
	return t.account(ctx, end)
}

// plugAll heals what an earlier visitor left pulled.
func (t *tour) plugAll(ctx context.Context) error {
	status, err := t.lab.Status(ctx)
	if err != nil {
		return err
	}
	for _, node := range status.Nodes {
		for cable, state := range node.Cables {
			if state != "pulled" {
				continue
			}
			if err := t.lab.PlugCable(node.Name, cable); err != nil {
				return err
			}
			t.screen.Line(fmt.Sprintf("The %s cable of %s was pulled; it is plugged in again.", cable, node.Name))
		}
	}
	return nil
}
