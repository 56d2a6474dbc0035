package main

import (
	"context"
	"log/slog"

	"gemel/node/agent"
	"gemel/node/config"
	"gemel/node/frontend/keeper"
	"gemel/node/replicator"
)

// runAgent is the control plane of a data node.
func runAgent(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	return agent.Program{Version: version}.Run(ctx, cfg, log)
}

// runReplicator is the data plane of a data node.
func runReplicator(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	return replicator.Run(ctx, cfg, log)
}

// runKeeper holds what devices need while the replicator is restarted. It ends by
// itself: a signal that is meant for the daemons must not reach it.
func runKeeper(ctx context.Context, dir string) error {
	return keeper.Serve(context.WithoutCancel(ctx), dir)
}
