package schedule

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		berlin = time.FixedZone("CET", 3600) // a box without time zones
	}
	at := func(text string) time.Time {
		v, err := time.ParseInLocation("2006-01-02 15:04", text, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct{ schedule, after, want string }{
		{"sun 03:00", "2026-11-23 12:00", "2026-11-29 03:00"}, // a Monday
		{"sun 03:00", "2026-11-29 02:59", "2026-11-29 03:00"},
		{"sun 03:00", "2026-11-29 03:00", "2026-12-06 03:00"}, // not the same one twice
		{"daily 04:00", "2026-12-31 05:00", "2027-01-01 04:00"},
		{"Mon,THU 02:30", "2026-11-23 12:00", "2026-11-26 02:30"},
		{"mon,thu 02:30", "2026-11-26 03:00", "2026-11-30 02:30"},
	} {
		s, err := Parse(c.schedule)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(at(c.after)); !got.Equal(at(c.want)) {
			t.Errorf("%s behind %s: %s, want %s", c.schedule, c.after, got, c.want)
		}
	}
	if never, err := Parse(" "); err != nil || !never.Next(time.Now()).IsZero() {
		t.Errorf("nothing given: %v", err)
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for _, text := range []string{"sunday 03:00", "sun", "sun 25:00", "sun 3", "03:00 sun", "sun 03:00 utc", ",sun 03:00"} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
