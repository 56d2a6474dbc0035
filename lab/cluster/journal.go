package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gemel/node/event"
)

// JournalName is the name under which the lab itself speaks in histories.
const JournalName = "lab"

// Journal returns the file of what was done to a lab, an event.Event per line.
func Journal(lab string) string { return filepath.Join(Dir(lab), "journal.jsonl") }

// Histories returns the files of what happened, by who wrote them: the lab's journal and
// the events of every box. Some may not exist.
func Histories(lab string) map[string]string {
	return map[string]string{
		JournalName: Journal(lab),
		"server1":   nodeDir(lab, "server1", "state", "events.jsonl"),
		"server2":   nodeDir(lab, "server2", "state", "events.jsonl"),
		"witness":   nodeDir(lab, "witness", "state", "witness-events.jsonl"),
	}
}

// Note writes a line into the lab's journal. What cannot be written is not: no verb
// fails for its journal.
func (c *Cluster) Note(kind, format string, args ...any) {
	line, err := json.Marshal(event.Event{
		Time: time.Now(), Node: JournalName, Kind: "lab." + kind, Text: fmt.Sprintf(format, args...),
	})
	if err != nil {
		return
	}
	file, err := os.OpenFile(Journal(c.lab), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	_, _ = file.Write(append(line, '\n'))
}
