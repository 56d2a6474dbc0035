// Package schedule says when something is due that happens at fixed times of the
// week. It is pure: it starts nothing and reads no clock.
package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Schedule is a time of day on some days of the week. The zero value is never
// due.
type Schedule struct {
	days         [7]bool // by time.Weekday
	hour, minute int
	set          bool
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Parse reads "sun 03:00", "mon,thu 02:30" or "daily 04:00". An empty text is
// never due.
func Parse(text string) (Schedule, error) {
	fields := strings.Fields(strings.ToLower(text))
	if len(fields) == 0 {
		return Schedule{}, nil
	}
	if len(fields) != 2 {
		return Schedule{}, fmt.Errorf("%q is not days and a time; write it like \"sun 03:00\", \"mon,thu 02:30\" or \"daily 04:00\"", text)
	}
	s := Schedule{set: true}
	at, err := time.Parse("15:04", fields[1])
	if err != nil {
		return Schedule{}, fmt.Errorf("%q is not a time of day; write it like 03:00", fields[1])
	}
	s.hour, s.minute = at.Hour(), at.Minute()
	for _, name := range strings.Split(fields[0], ",") {
		day := slices.Index(dayNames, name)
		switch {
		case name == "daily":
			s.days = [7]bool{true, true, true, true, true, true, true}
		case day < 0:
			return Schedule{}, fmt.Errorf("%q is not a day; the days are %s and daily", name, strings.Join(dayNames, ", "))
		default:
			s.days[day] = true
		}
	}
	return s, nil
}

// Next returns the first time behind after, in after's time zone; the zero time
// when there is none. A time that a change of clocks skips is due when it would
// have been.
func (s Schedule) Next(after time.Time) time.Time {
	if !s.set {
		return time.Time{}
	}
	for day := 0; ; day++ {
		at := time.Date(after.Year(), after.Month(), after.Day()+day, s.hour, s.minute, 0, 0, after.Location())
		if s.days[at.Weekday()] && at.After(after) {
			return at
		}
	}
}
