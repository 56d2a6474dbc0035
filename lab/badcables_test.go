package main

import (
	"errors"
	"testing"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]uint64{"": 0, "100mbit": 100e6, "1gbit": 1e9, "512kbit": 512e3, "2.5Gbit": 25e8} {
		if got, err := parseRate(text); err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"100", "mbit", "-1mbit", "0mbit", "1tbit", "NaNmbit"} {
		if got, err := parseRate(text); !errors.Is(err, errUsage) {
			t.Errorf("%q is %d (%v), want wrong usage", text, got, err)
		}
	}
}

func TestParsePercent(t *testing.T) {
	for text, want := range map[string]float64{"": 0, "1%": 0.01, "0.5%": 0.005, "100%": 1, "0%": 0} {
		if got, err := parsePercent(text); err != nil || got != want {
			t.Errorf("%q is %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"1", "%", "-1%", "101%", "NaN%"} {
		if got, err := parsePercent(text); !errors.Is(err, errUsage) {
			t.Errorf("%q is %v (%v), want wrong usage", text, got, err)
		}
	}
}
