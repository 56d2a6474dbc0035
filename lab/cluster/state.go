package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"gemel/lab/badcable"
	"gemel/lab/bmc"
	"gemel/lab/drive/model"
)

// State is what a lab remembers between commands, in lab.json of its directory.
type State struct {
	Lab       string          `json:"lab"`
	CableRate uint64          `json:"cable_rate"` // bits per second of a private cable; 0: unthrottled
	DiskSize  int64           `json:"disk_size"`  // bytes
	Loops     map[string]Disk `json:"loops"`      // by server
	// Model of the servers' drives; nil: plain files under loop devices.
	Model     *model.Params   `json:"model,omitempty"`
	Pulled    map[string]bool `json:"pulled"`     // "node/switch" of cables with the plug out
	Bare      bool            `json:"bare"`       // the boxes run no daemons
	LANNIC    string          `json:"lan_nic"`    // NIC that gets the VIP
	WitnessOn string          `json:"witness_on"` // switch over which the third voter is reached, or NoWitness; empty: the LAN
	// Fencing by the servers' power controls; empty: none.
	Fencing Fencing `json:"fencing,omitempty"`
	Arbiter string  `json:"arbiter,omitempty"` // third voter: ByEtcd, or empty for the witness
	Image   string  `json:"image,omitempty"`   // of the boxes that are made next; empty: the latest
	// Services of the volumes, see Options; empty: NFS only.
	Services []string `json:"services,omitempty"`
	// Bad cables, by "node/switch", with what is wrong with them.
	Bad map[string]badcable.Both `json:"bad,omitempty"`
	// Broken power controls, by server.
	BMC map[string]bmc.Faults `json:"bmc,omitempty"`
	// Boxes whose memory is being filled.
	Full   map[string]bool `json:"full,omitempty"`
	Jumped time.Duration   `json:"jumped,omitempty"` // by which the host's wall clock was moved
}

// Disk is a server's backing disk.
type Disk struct {
	Image string `json:"image"` // file on the host
	Loop  string `json:"loop"`  // such as /dev/loop5
}

func statePath(dir string) string { return filepath.Join(dir, "lab.json") }

// loadState reads the state of the lab in dir; ErrNoLab when there is none.
func loadState(dir string) (*State, error) {
	data, err := os.ReadFile(statePath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w; next: lab up --lab %s", filepath.Base(dir), ErrNoLab, filepath.Base(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("state of lab: %w", err)
	}
	state := &State{}
	if err := json.Unmarshal(data, state); err != nil {
		return nil, fmt.Errorf("state of lab in %s: %w", statePath(dir), err)
	}
	if state.Bad == nil {
		state.Bad = map[string]badcable.Both{}
	}
	if state.BMC == nil {
		state.BMC = map[string]bmc.Faults{}
	}
	if state.Full == nil {
		state.Full = map[string]bool{}
	}
	return state, nil
}

// save replaces the state file in one step.
func (s *State) save(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("state of lab %s: %w", s.Lab, err)
	}
	fresh := statePath(dir) + ".new"
	if err := os.WriteFile(fresh, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("state of lab %s: %w", s.Lab, err)
	}
	if err := os.Rename(fresh, statePath(dir)); err != nil {
		return fmt.Errorf("state of lab %s: %w", s.Lab, err)
	}
	return nil
}

// changeState loads, changes and saves under a lock that other processes respect.
func changeState(dir string, change func(*State)) error {
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	state, err := loadState(dir)
	if err != nil {
		return err
	}
	change(state)
	return state.save(dir)
}

func lockDir(dir string) (unlock func(), err error) {
	unlock, err = lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock lab: %w", err)
	}
	return unlock, nil
}

// lockFile waits for a lock that other processes respect, too.
func lockFile(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}

func cableKey(node, sw string) string { return node + "/" + sw }
