package main

import (
	"context"
	"errors"
	"log/slog"

	"gemel/node/config"
)

var errNotInThisBuild = errors.New("this build does not hold that daemon")

func runAgent(context.Context, *config.Config, *slog.Logger) error { return errNotInThisBuild }

func runReplicator(context.Context, *config.Config, *slog.Logger) error { return errNotInThisBuild }
