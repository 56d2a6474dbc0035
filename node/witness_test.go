package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"gemel/node/api"
	"gemel/node/arbiter"
	"gemel/node/arbiter/ballot/ballottest"
	"gemel/node/config"
	"gemel/node/identity"
)

// startWitness runs the daemon until the returned function is called.
func startWitness(t *testing.T, cfg *config.Config) (local *api.Client, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runWitness(ctx, cfg, slog.New(slog.DiscardHandler)) }()
	local = api.NewUnixClient(cfg.WitnessSocket())
	for range 500 {
		if _, err := local.Status(ctx); err == nil {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("the witness ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return local, func() {
		t.Helper()
		local.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("witness: %v", err)
		}
	}
}

func witnessConfig(t *testing.T) (*config.Config, string) {
	t.Helper()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	plan := identity.Plan{Cluster: "lab", Nodes: []string{"server1", "server2"}, Witness: "witness"}
	if _, err := identity.Init(keys, plan); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GEMEL_NODE", "witness")
	t.Setenv("GEMEL_KEYS", filepath.Join(keys, "witness"))
	t.Setenv("GEMEL_STATE_DIR", filepath.Join(dir, "state"))
	t.Setenv("GEMEL_RUN_DIR", filepath.Join(dir, "run"))
	t.Setenv("GEMEL_PORTS_API", strconv.Itoa(port))
	cfg, err := config.Parse("gemel.yaml", []byte(config.Example))
	if err != nil {
		t.Fatal(err)
	}
	return cfg, keys
}

func TestWitnessVotesAndRemembers(t *testing.T) {
	cfg, keys := witnessConfig(t)
	ctx := context.Background()
	id, err := identity.Load(filepath.Join(keys, "server1"))
	if err != nil {
		t.Fatal(err)
	}
	node := api.NewClient(api.Target{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Ports.API)),
		TLS: id.ClientTLS("witness"), Timeout: 10 * time.Second})
	defer node.Close()

	_, stop := startWitness(t, cfg)
	if p, err := ballottest.Prepare(ctx, node, arbiter.PrepareRequest{Volume: "data", Epoch: 2}); err != nil || !p.Record.Fresh {
		t.Errorf("first promise: %+v, %v", p, err)
	}
	chosen := arbiter.Accepted{Epoch: 2, Version: 1, Set: arbiter.Only(0)}
	if a, err := ballottest.Accept(ctx, node, arbiter.AcceptRequest{Volume: "data", Accepted: chosen}); err != nil || !a.OK {
		t.Errorf("accept: %+v, %v", a, err)
	}
	if _, err := ballottest.Accept(ctx, node, arbiter.AcceptRequest{Volume: "data", Accepted: arbiter.Accepted{Epoch: 3}}); !errors.Is(err, &api.Error{Code: api.CodeForbidden}) {
		t.Errorf("the other node's epoch: %v", err)
	}
	if err := node.Switchover(ctx, api.Order{Volume: "data"}); !errors.Is(err, &api.Error{Code: api.CodeUnsupported}) {
		t.Errorf("an order: %v", err)
	}
	stop()

	local, stop := startWitness(t, cfg)
	defer stop()
	s, err := local.Status(ctx)
	if err != nil || s.Role != "witness" || len(s.Records) != 1 {
		t.Fatalf("status after a restart: %+v, %v", s, err)
	}
	r := s.Records[0]
	if r.Volume != "data" || r.Record.Accepted != chosen || r.Record.Fresh || len(r.InSyncBy) != 1 || r.InSyncBy[0] != "server1" {
		t.Errorf("record after a restart: %+v", r)
	}
	if page, err := local.Events(ctx, 0, 0); err != nil || len(page.Events) != 2 || page.Events[1].Kind != "vote.accepted" {
		t.Errorf("events: %+v, %v", page, err)
	}
}

func TestWitnessRefusesForeignKeys(t *testing.T) {
	cfg, keys := witnessConfig(t)
	cfg.Keys = filepath.Join(keys, "server1")
	if err := runWitness(context.Background(), cfg, slog.New(slog.DiscardHandler)); !errors.Is(err, identity.ErrUnknownPeer) {
		t.Errorf("with a node's keys: %v", err)
	}
}
