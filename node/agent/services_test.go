package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gemel/node/failover"
	"gemel/node/service"
	"gemel/node/service/order"
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

// serviceList are drivers in the order of the list, but for those that after names.
func serviceList(t *testing.T, after map[string][]string, drivers ...service.Driver) services {
	t.Helper()
	var items []order.Item
	for _, d := range drivers {
		items = append(items, order.Item{Name: d.Name(), After: after[d.Name()]})
	}
	plan, err := order.Of(items)
	if err != nil {
		t.Fatal(err)
	}
	return services{list: drivers, plan: plan}
}

// meeting is a service that starts and stops only while all others of its meeting do.
type meeting struct {
	fakeDriver
	all func(context.Context) error
}

func (m *meeting) Start(ctx context.Context) error { return m.all(ctx) }
func (m *meeting) Stop(ctx context.Context) error  { return m.all(ctx) }

// TestServicesSideBySide: what waits for nobody begins at once.
func TestServicesSideBySide(t *testing.T) {
	const count = 4
	arrived := make(chan chan struct{})
	go func() { // whoever comes is let go once all are there; twice: to start, to stop
		for range 2 {
			var waiting []chan struct{}
			for range count {
				waiting = append(waiting, <-arrived)
			}
			for _, w := range waiting {
				close(w)
			}
		}
	}()
	meet := func(ctx context.Context) error {
		free := make(chan struct{})
		arrived <- free
		select {
		case <-free:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	after, drivers := map[string][]string{}, []service.Driver{}
	for _, name := range []string{"nfs", "samba", "db", "web"} {
		after[name] = []string{}
		drivers = append(drivers, &meeting{fakeDriver: fakeDriver{name: name}, all: meet})
	}
	list := serviceList(t, after, drivers...)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := errors.Join(list.Start(ctx), list.Stop(ctx)); err != nil {
		t.Error(err)
	}
}

// randomDriver watches that it is called as its plan says.
type randomDriver struct {
	fakeDriver
	world *randomWorld
	at    int
	fails bool
	slow  bool // its start ends with its time only
}

// randomWorld is what runs, as the drivers see it.
type randomWorld struct {
	mu      sync.Mutex
	runs    []bool
	needs   [][]int
	tooSoon []string
}

func (w *randomWorld) set(at int, runs bool, ahead func(other int) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for other := range w.runs {
		if !ahead(other) {
			w.tooSoon = append(w.tooSoon, fmt.Sprintf("%d (%v) before %d", at, runs, other))
		}
	}
	w.runs[at] = runs
}

func (d *randomDriver) Start(ctx context.Context) error {
	if d.slow {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if d.fails {
		return errStubborn
	}
	d.world.set(d.at, true, func(other int) bool { return !slices.Contains(d.world.needs[d.at], other) || d.world.runs[other] })
	return nil
}

func (d *randomDriver) Stop(context.Context) error {
	d.world.set(d.at, false, func(other int) bool { return !slices.Contains(d.world.needs[other], d.at) || !d.world.runs[other] })
	return nil
}

// TestServicesOfAnyOrder: random plans with failures and services that never come up.
// Whatever happens, nobody is started before what it needs runs, everybody starts whose
// needs did, Start says what is missing, and nothing runs after Stop.
func TestServicesOfAnyOrder(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rnd.IntN(6)
		world := &randomWorld{runs: make([]bool, n), needs: make([][]int, n)}
		after, drivers, slow := map[string][]string{}, make([]service.Driver, n), false
		comes := make([]bool, n)
		for i := range n {
			name := string(rune('a' + i))
			d := &randomDriver{fakeDriver: fakeDriver{name: name}, world: world, at: i, fails: rnd.IntN(5) == 0, slow: rnd.IntN(8) == 0}
			comes[i], slow = !d.fails && !d.slow, slow || d.slow
			after[name] = []string{}
			for j := range i {
				if rnd.IntN(3) == 0 {
					after[name], world.needs[i] = append(after[name], string(rune('a'+j))), append(world.needs[i], j)
					comes[i] = comes[i] && comes[j]
				}
			}
			drivers[i] = d
		}
		list := serviceList(t, after, drivers...)
		limit := 30 * time.Second
		if slow {
			limit = 20 * time.Millisecond // somebody uses it up
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		err := list.Start(ctx)
		cancel()
		if all := !slices.Contains(comes, false); all != (err == nil) || !slow && !slices.Equal(world.runs, comes) {
			t.Fatalf("seed %d: needs %v: %v run, want %v: %v", seed, world.needs, world.runs, comes, err)
		}
		if err := list.Stop(t.Context()); err != nil || slices.Contains(world.runs, true) {
			t.Fatalf("seed %d: needs %v: %v run after the stop: %v", seed, world.needs, world.runs, err)
		}
		if len(world.tooSoon) > 0 {
			t.Fatalf("seed %d: needs %v: too soon: %v", seed, world.needs, world.tooSoon)
		}
	}
}

// TestNothingStartsAfterTheTime: a step that was given up starts nothing any more.
func TestNothingStartsAfterTheTime(t *testing.T) {
	log := &calls{}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGivenUp)
	list := serviceList(t, map[string][]string{"web": {}}, &fakeDriver{name: "db", calls: log}, &fakeDriver{name: "web", calls: log})
	if err := list.Start(ctx); !errors.Is(err, errGivenUp) || !strings.Contains(err.Error(), "db, web not started") {
		t.Errorf("start: %v", err)
	}
	if got := log.all(); len(got) != 0 {
		t.Errorf("calls %v", got)
	}
	if err := list.Stop(ctx); err != nil {
		t.Error(err)
	}
	if got, want := log.count("stop db")+log.count("stop web"), 2; got != want {
		t.Errorf("%d of %d were asked to stop although the time was over", got, want)
	}
}

func TestServicesInOrder(t *testing.T) {
	log := &calls{}
	list := serviceList(t, nil, &fakeDriver{name: "db", calls: log}, &fakeDriver{name: "app", calls: log}, &fakeDriver{name: "web", calls: log})
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
	list := serviceList(t, nil, &fakeDriver{name: "db", calls: log}, &fakeDriver{name: "app", calls: log, startErr: broken}, &fakeDriver{name: "web", calls: log})
	var told []string
	list.tell = func(kind, text string) { told = append(told, kind+" "+text) }
	if err := list.Start(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), "web not started") {
		t.Errorf("start: %v", err)
	}
	if got, want := log.all(), []string{"start db", "start app"}; !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "services.start Time to start: db ") || !strings.Contains(told[0], "app failed after ") || strings.Contains(told[0], "web") {
		t.Errorf("history says %q", told)
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
	if err := serviceList(t, nil, db, app).Stop(ctx); !errors.Is(err, errStubborn) {
		t.Errorf("stop: %v", err)
	}
	if got, want := log.all(), []string{"stop app", "stop db"}; !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	if app.had > time.Second {
		t.Errorf("the stubborn one had %v of 2 s", app.had)
	}
}
