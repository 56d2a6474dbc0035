package fuseloop

import (
	"context"
	"os"
	"testing"

	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/frontendtest"
	"gemel/node/frontend/keeper"
)

var survival = frontendtest.Survival{
	Attach: func(ctx context.Context, o frontend.Options, dev block.Device) (frontendtest.Recoverable, error) {
		return Attach(ctx, o, dev)
	},
	Left: Left, Discard: Discard,
	Prepare:     startKeeper,
	NothingLeft: func(t *testing.T) { nothingLeft(t, "survival") },
}

// TestMain makes a keeper or a server of the test program when it is told so.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "keeper" {
		if keeper.Serve(context.Background(), os.Args[2]) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	survival.Main(m)
}

// startKeeper starts one that ends with the test.
func startKeeper(t *testing.T, dir string) {
	t.Helper()
	c, err := keeper.Ensure("/proc/self/exe", []string{"keeper", dir}, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
}

// TestSurvival needs a kernel that asks a new server what the old one left
// unanswered.
func TestSurvival(t *testing.T) {
	needHost(t)
	a, _ := newAttachment(t, 1<<20)
	if !a.server.Session().Resend {
		t.Skip("needs Linux 6.9: the kernel's FUSE cannot ask again")
	}
	frontendtest.RunSurvival(t, survival)
}
