package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseSize reads a size such as "50MiB", "4096" or "1.5GiB" into bytes. Units
// are B, KiB, MiB, GiB and TiB. An empty text is 0. Decimal units are refused
// rather than guessed.
func ParseSize(s string) (int64, error) {
	text := strings.TrimSpace(s)
	if text == "" {
		return 0, nil
	}
	number := strings.TrimRight(text, "BKMGTibkmgt ")
	factor, ok := sizeUnits[strings.TrimSpace(text[len(number):])]
	if !ok {
		return 0, fmt.Errorf("size %q: unknown unit; write B, KiB, MiB, GiB or TiB", s)
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || n < 0 || math.IsNaN(n) || n*factor >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q: not a number of bytes; write it like 50MiB", s)
	}
	return int64(n * factor), nil
}

var sizeUnits = map[string]float64{
	"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}
