package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	// patience is how long one server of etcd may take before the next one is asked as well.
	patience = 150 * time.Millisecond
	// alive is how soon a connection that carries nothing is given up, and how long one may take to come about.
	alive = 2 * time.Second
	// quiet is the longest pause between two tries to reach a server that is away: its own default, two minutes,
	// would keep an etcd that is back away for as long.
	quiet = 2 * time.Second
)

// errNotYet: a server of etcd has not let us in yet.
var errNotYet = errors.New("not logged in yet")

// member is one server of etcd, with connections of its own: a client for all of them hands requests out in turn, also to
// one that hangs, and it takes such a client twelve seconds to notice.
type member struct {
	at string

	mu     sync.Mutex
	client *clientv3.Client // nil: not yet
	store  store            // the client
}

// get returns the way to the server.
func (m *member) get() (store, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store == nil {
		return nil, fmt.Errorf("%s: %w", m.at, errNotYet)
	}
	return m.store, nil
}

// Open returns the voter of cluster in the etcd that conf names; Close it after use. It does not wait for any server: whether
// one answers is seen with the first vote.
func Open(conf clientv3.Config, cluster string) (*Voter, error) {
	ctx, stop := context.WithCancel(context.Background())
	v := &Voter{prefix: "/gemel/" + cluster + "/", leases: map[string]lease{}, stop: stop}
	conf.DialKeepAliveTime, conf.DialKeepAliveTimeout, conf.PermitWithoutStream = alive, alive, true
	pause := backoff.DefaultConfig
	pause.BaseDelay, pause.MaxDelay = patience, quiet
	conf.DialOptions = append(conf.DialOptions[:len(conf.DialOptions):len(conf.DialOptions)],
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: alive}))
	for _, at := range conf.Endpoints {
		own := conf
		own.Endpoints = []string{at}
		m := &member{at: at}
		v.members = append(v.members, m)
		if own.Username != "" {
			own.Context, own.DialTimeout = ctx, alive
			v.logins.Go(func() { m.login(ctx, own) })
			continue
		}
		if err := m.dial(own); err != nil {
			return nil, errors.Join(err, v.Close())
		}
	}
	return v, nil
}

func (m *member) dial(conf clientv3.Config) error {
	client, err := clientv3.New(conf)
	if err != nil {
		return fmt.Errorf("make a client of etcd at %s: %w", m.at, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client, m.store = client, client
	return nil
}

// login dials until it is let in: with a password, a client is not made before the server answered.
func (m *member) login(ctx context.Context, conf clientv3.Config) {
	for ctx.Err() == nil {
		if m.dial(conf) == nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(patience):
		}
	}
}

// Close ends all connections. Nothing may be under way any more.
func (v *Voter) Close() error {
	v.stop()
	v.logins.Wait()
	var errs []error
	for _, m := range v.members {
		if m.client == nil {
			continue
		}
		// A client whose context ended says so when it is closed.
		if err := m.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("close the client of etcd at %s: %w", m.at, err))
		}
	}
	return errors.Join(errs...)
}

// answer is what came of asking one server.
type answer[T any] struct {
	from  int
	value T
	err   error
}

// through asks by way of the server that answered last. If that takes longer than patience, the next one is asked as
// well, and so on; the first answer counts. So one that hangs or is cut off costs a moment, once. Asking several is
// harmless: a vote may be repeated, each is one transaction, and who comes late finds the register moved.
func through[T any](ctx context.Context, v *Voter, ask func(context.Context, *path) (T, error)) (T, error) {
	// Who lost its leader says so at once instead of waiting for the next.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	answers := make(chan answer[T], len(v.members))
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	first, next := int(v.newest.Load()), 0
	begin := func() {
		if next == len(v.members) {
			return
		}
		at := (first + next) % len(v.members)
		next++
		asked.Go(func() {
			a := answer[T]{from: at}
			if store, err := v.members[at].get(); err != nil {
				a.err = err
			} else {
				a.value, a.err = ask(ctx, &path{v, store})
			}
			answers <- a
		})
	}
	begin()
	impatient := time.NewTicker(patience)
	defer impatient.Stop()
	var failed error
	for told := 0; told < len(v.members); {
		select {
		case <-impatient.C:
			begin()
		case a := <-answers:
			if a.err == nil {
				v.newest.Store(int32(a.from)) //nolint:gosec // a handful
				return a.value, nil
			}
			told++
			if failed == nil || errors.Is(failed, errNotYet) {
				failed = a.err
			}
			begin()
		}
	}
	var none T
	return none, failed
}

// path is the voter's way through one server of etcd.
type path struct {
	*Voter
	store store
}
