package config

import (
	"path/filepath"

	"gemel/node/replicator/handshake"
)

// UndoDirectory is where undo files are kept.
func (c *Config) UndoDirectory() string {
	if c.UndoDir != "" {
		return c.UndoDir
	}
	return filepath.Join(c.StateDir, "undo")
}

// AfterSplit returns what settles a split brain without a human.
func (c *Config) AfterSplit() handshake.Policy {
	zero, _ := handshake.ParseZero(c.Replication.AfterSplit0, c.NodeNames()) // Load refused anything
	one, _ := handshake.ParseOne(c.Replication.AfterSplit1)                  // that does not parse
	return handshake.Policy{Zero: zero, One: one}
}
