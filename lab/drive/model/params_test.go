package model

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func TestReadyMadeModels(t *testing.T) {
	for _, name := range Names() {
		params, err := Named(name)
		if err != nil || params.Name != name || params.Description == "" {
			t.Errorf("%s: %+v (%v)", name, params, err)
			continue
		}
		text, err := yaml.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(text); err != nil || again != params {
			t.Errorf("%s written and read again is %+v (%v)", name, again, err)
		}
	}
	article, err := Named("2004")
	if err != nil || article.Platters != 2 || article.PlatterRate != 65e6 || article.BusRate != 133e6 ||
		article.BurstRate != 320e6 || article.Cache != 8<<20 || article.Seek != 9*time.Millisecond {
		t.Errorf("the article's disks are %+v (%v)", article, err)
	}
	if _, err := Named("floppy"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "nvme") {
		t.Errorf("floppy: %v, want ErrUnknown with the names there are", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, word := range map[string]string{
		"platter-rate: 65MB/s":                          "no name",
		"name: a\nplatter-rate: 65MB":                   "no rate",
		"name: a\ncache: lots":                          "no size",
		"name: a\ncache: 2GiB":                          "at most 1GiB",
		"name: a\nspeed: 65MB/s":                        "speed",
		"name: a\nplatters: 2":                          "chunk",
		"name: a\nplatters: 99\nchunk: 64KiB":           "1 to 16",
		"name: a\nflush: sometimes":                     "honoured or lying",
		"name: a\nseek: -1s":                            "seek",
		"name: a\nlatency: 2m":                          "latency",
		"name: a\nplatters: 2\nchunk: 1000B\nseek: 1ms": "multiple of 4KiB",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %v, want an error with %q", text, err, word)
		}
	}
}

func TestSizesAndRates(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "8MiB": 8 << 20, "64KiB": 64 << 10, "1GB": 1e9, "512B": 512, "1.5GiB": 3 << 29} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]Rate{"0": 0, "65MB/s": 65e6, "1.5GB/s": 1.5e9, "8MiB/s": 8 << 20} {
		got, err := ParseRate(text)
		if err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
		if again, err := ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%v written is read as %d (%v)", got, again, err)
		}
	}
	for _, bad := range []string{"", "-1MiB", "MiB", "8 TiB"} {
		if _, err := ParseSize(bad); err == nil {
			t.Errorf("%q is a size", bad)
		}
	}
}
