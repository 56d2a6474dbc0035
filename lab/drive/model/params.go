// Package model says how long a disk takes: a queueing model of one or several
// striped platters, each with a write-back cache and a link, behind one bus. It
// also says when a cached write has reached its platter. It holds no data, has no
// clock of its own and waits for nothing: the caller says what time it is.
package model

import (
	"embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Params describe a disk, as a YAML file does.
type Params struct {
	Name        string `yaml:"name" json:"name"`
	Description string `yaml:"description" json:"description,omitempty"`
	// PlatterRate is what one platter reads or writes in a row; 0: no limit.
	PlatterRate Rate `yaml:"platter-rate" json:"platter_rate"`
	// BurstRate is what the link to one platter's cache moves; 0: no limit.
	BurstRate Rate `yaml:"burst-rate" json:"burst_rate"`
	// Cache is the write-back cache of one platter; 0: a write ends on the platter.
	Cache Size `yaml:"cache" json:"cache"`
	// Seek is the mean time to another place, half a turn included.
	Seek time.Duration `yaml:"seek" json:"seek_ns"`
	// Latency is what every request costs beside that; it holds up nobody else.
	Latency time.Duration `yaml:"latency" json:"latency_ns"`
	// Platters is how many are striped, from 1 to 16; 0 means 1.
	Platters int `yaml:"platters" json:"platters"`
	// Chunk is the stripe's unit, a multiple of 4 KiB; needed for more than one platter.
	Chunk Size `yaml:"chunk" json:"chunk,omitempty"`
	// BusRate is what all platters move together; 0: no limit.
	BusRate Rate `yaml:"bus-rate" json:"bus_rate"`
	// Flush is Honoured or Lying; empty means Honoured.
	Flush Flush `yaml:"flush" json:"flush"`
	// HoldBack keeps writes in the cache for as long as there is room and nobody
	// flushes: the disk that a power cut hurts most.
	HoldBack bool `yaml:"hold-back" json:"hold_back"`
	// Erase lets blocks be given back (discard), as SSDs do.
	Erase bool `yaml:"erase" json:"erase"`
}

// Flush says what a disk does when it is told to empty its cache.
type Flush string

// Ways to flush.
const (
	Honoured Flush = "honoured" // answers when everything is on the platters
	Lying    Flush = "lying"    // answers at once and does nothing
)

// ErrUnknown says that no model has such a name.
var ErrUnknown = errors.New("no such model")

//go:embed models/*.yaml
var files embed.FS

// Aliases are short names of models.
var aliases = map[string]string{"2004": "raid0-2x2004"}

// Names returns the names of the ready-made models, sorted.
func Names() []string {
	entries, _ := files.ReadDir("models") // embedded: it is there
	var names []string
	for _, entry := range entries {
		names = append(names, strings.TrimSuffix(entry.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Text returns the YAML of a ready-made model; ErrUnknown when there is none.
func Text(name string) ([]byte, error) {
	if full, ok := aliases[name]; ok {
		name = full
	}
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("%q: %w; there are %s", name, ErrUnknown, strings.Join(Names(), ", "))
	}
	return files.ReadFile(path.Join("models", name+".yaml"))
}

// Named returns a ready-made model; ErrUnknown when there is none.
func Named(name string) (Params, error) {
	text, err := Text(name)
	if err != nil {
		return Params{}, err
	}
	return Parse(text)
}

// Parse reads a model from YAML; a key it does not know is an error.
func Parse(text []byte) (Params, error) {
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	params := Params{}
	if err := decoder.Decode(&params); err != nil {
		return Params{}, fmt.Errorf("model of a disk: %w", err)
	}
	return params.checked()
}

// checked fills in what may be left out and refuses what makes no disk.
func (p Params) checked() (Params, error) {
	if p.Platters == 0 {
		p.Platters = 1
	}
	if p.Flush == "" {
		p.Flush = Honoured
	}
	if p.Platters == 1 {
		p.Chunk = 0
	}
	for _, rule := range []struct {
		broken bool
		words  string
	}{
		{p.Name == "", "it has no name"},
		{p.Platters < 1 || p.Platters > 16, "platters: from 1 to 16"},
		{p.Platters > 1 && (p.Chunk < 4096 || p.Chunk%4096 != 0), "chunk: a multiple of 4KiB, for several platters"},
		{p.Flush != Honoured && p.Flush != Lying, "flush: honoured or lying"},
		{p.Seek < 0 || p.Seek > time.Minute, "seek: from 0 to 1m"},
		{p.Latency < 0 || p.Latency > time.Minute, "latency: from 0 to 1m"},
		{p.Cache > MaxCache, "cache: at most " + MaxCache.String() + " for each platter"},
	} {
		if rule.broken {
			return Params{}, fmt.Errorf("model of a disk %q: %s", p.Name, rule.words)
		}
	}
	return p, nil
}

// MaxCache bounds one platter's cache, since it is held in memory.
const MaxCache Size = 1 << 30

// Size is a number of bytes, written like 8MiB.
type Size int64

// Rate is a number of bytes per second, written like 65MB/s. 0: no limit.
type Rate int64

// units are tried in order, so that a unit comes before its own end.
var units = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// ParseSize reads a size such as 8MiB, 64KiB, 1GB or 0.
func ParseSize(text string) (Size, error) {
	if text == "0" {
		return 0, nil
	}
	for _, unit := range units {
		head, ok := strings.CutSuffix(text, unit.name)
		if !ok {
			continue
		}
		count, err := strconv.ParseFloat(strings.TrimSpace(head), 64)
		if err != nil || count < 0 || count*float64(unit.bytes) > 1<<60 {
			break
		}
		return Size(count * float64(unit.bytes)), nil
	}
	return 0, fmt.Errorf("%q is no size: write it like 8MiB, 64KiB or 0", text)
}

// ParseRate reads a rate such as 65MB/s, or 0 for no limit.
func ParseRate(text string) (Rate, error) {
	head, ok := strings.CutSuffix(text, "/s")
	size, err := ParseSize(head)
	if err != nil || (!ok && text != "0") {
		return 0, fmt.Errorf("%q is no rate: write it like 65MB/s, or 0 for no limit", text)
	}
	return Rate(size), nil
}

// UnmarshalYAML reads a size as ParseSize does.
func (s *Size) UnmarshalYAML(node *yaml.Node) (err error) {
	*s, err = ParseSize(node.Value)
	return err
}

// UnmarshalYAML reads a rate as ParseRate does.
func (r *Rate) UnmarshalYAML(node *yaml.Node) (err error) {
	*r, err = ParseRate(node.Value)
	return err
}

// MarshalYAML writes a size as a person does.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// MarshalYAML writes a rate as a person does.
func (r Rate) MarshalYAML() (any, error) { return r.String(), nil }

func (s Size) String() string {
	for _, unit := range units[:3] {
		if int64(s) >= unit.bytes && int64(s)%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(s)/unit.bytes, unit.name)
		}
	}
	if s == 0 {
		return "0"
	}
	return fmt.Sprintf("%dB", int64(s))
}

func (r Rate) String() string {
	if r == 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(r)/1e6, 'f', -1, 64) + "MB/s"
}

// Burst returns the bytes per second that the caches take while they have room; 0: no limit.
func (p Params) Burst() float64 { return p.ceiling(p.BurstRate) }

// Sustained returns the bytes per second that all platters move in a row; 0: no limit.
func (p Params) Sustained() float64 { return p.ceiling(p.PlatterRate) }

func (p Params) ceiling(each Rate) float64 {
	all := float64(each) * float64(p.Platters)
	if all == 0 || (p.BusRate > 0 && float64(p.BusRate) < all) {
		return float64(p.BusRate)
	}
	return all
}
