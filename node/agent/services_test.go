package agent

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"gemel/node/failover"
	"gemel/node/service"
)

// fakeDriver notes what it is asked; a stubborn one uses up its time to stop.
type fakeDriver struct {
	name     string
	calls    *calls
	startErr error
	stubborn bool
	had      time.Duration // time left when it was asked to stop
}

var errStubborn = errors.New("it does not stop")

func (d *fakeDriver) Name() string                { return d.name }
func (d *fakeDriver) Start(context.Context) error { d.calls.add("start " + d.name); return d.startErr }
func (d *fakeDriver) Stop(ctx context.Context) error {
	d.calls.add("stop " + d.name)
	if until, ok := ctx.Deadline(); ok {
		d.had = time.Until(until)
	}
	if d.stubborn {
		<-ctx.Done()
		return errStubborn
	}
	return nil
}
func (d *fakeDriver) Kill(context.Context) error { d.calls.add("kill " + d.name); return nil }
func (d *fakeDriver) State() service.State       { return service.State{Phase: service.Running} }
func (d *fakeDriver) Release()                   {}

func TestServicesInOrder(t *testing.T) {
	log := &calls{}
	list := services{&fakeDriver{name: "db", calls: log}, &fakeDriver{name: "app", calls: log}, &fakeDriver{name: "web", calls: log}}
	if err := errors.Join(list.Start(t.Context()), list.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	want := []string{"start db", "start app", "start web", "stop web", "stop app", "stop db"}
	if got := log.all(); !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
}

// TestServiceThatDoesNotStartHoldsTheNext: they may need it.
func TestServiceThatDoesNotStartHoldsTheNext(t *testing.T) {
	log := &calls{}
	broken := errors.New("no disk today")
	list := services{&fakeDriver{name: "db", calls: log}, &fakeDriver{name: "app", calls: log, startErr: broken}, &fakeDriver{name: "web", calls: log}}
	if err := list.Start(t.Context()); !errors.Is(err, broken) {
		t.Errorf("start: %v", err)
	}
	if got, want := log.all(), []string{"start db", "start app"}; !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
}

// TestAddressesAnswerWhenSomeServicesRun, on a node that keeps the volume.
func TestAddressesAnswerWhenSomeServicesRun(t *testing.T) {
	for name, c := range map[string]struct {
		fails, stay bool
		running     string
		want        int // times the addresses were opened
	}{
		"all run":               {running: service.Running, want: 1},
		"taking over, one of 2": {fails: true, running: service.Running},
		"stays, one of 2":       {fails: true, stay: true, running: service.Running, want: 1},
		"stays, none":           {fails: true, stay: true, running: service.Failed},
	} {
		s := newStage(t, nil)
		s.steps.running = c.running
		if c.fails {
			s.steps.fail["start"] = errors.New("no disk today")
		}
		s.runOwner(t)
		r := run(failover.StepServices)
		r.Stay = c.stay
		if done := s.runStep(t, r); (done.Err != "") != c.fails {
			t.Errorf("%s: %q", name, done.Err)
		}
		if got := s.steps.calls.count("open"); got != c.want {
			t.Errorf("%s: opened %d times, want %d", name, got, c.want)
		}
	}
}

// TestServiceThatDoesNotStopLeavesTimeForTheOthers: every one is asked, each with
// its share of the step's time.
func TestServiceThatDoesNotStopLeavesTimeForTheOthers(t *testing.T) {
	log := &calls{}
	db, app := &fakeDriver{name: "db", calls: log}, &fakeDriver{name: "app", calls: log, stubborn: true}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := (services{db, app}).Stop(ctx); !errors.Is(err, errStubborn) {
		t.Errorf("stop: %v", err)
	}
	if got, want := log.all(), []string{"stop app", "stop db"}; !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	if app.had > time.Second {
		t.Errorf("the stubborn one had %v of 2 s", app.had)
	}
}
