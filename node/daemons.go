package main

import (
	"context"
	"errors"
	"log/slog"

	"gemel/node/agent"
	"gemel/node/config"
)

// runAgent is the control plane of a data node.
func runAgent(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	return agent.Program{Version: version}.Run(ctx, cfg, log)
}

var errNotInThisBuild = errors.New("this build does not hold that daemon")

func runReplicator(context.Context, *config.Config, *slog.Logger) error { return errNotInThisBuild }
