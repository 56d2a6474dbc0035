package main

import (
	"context"
	"log/slog"

	"gemel/node/agent"
	"gemel/node/config"
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
