package config

import (
	"strings"
	"testing"
)

func TestResyncMistakes(t *testing.T) {
	volumes := func(text string) string {
		at := strings.Index(Example, "volumes:")
		return Example[:at] + "volumes:\n" + text
	}
	one := "  - {name: one, device: /dev/a"
	two := "  - {name: two, device: /dev/b"
	for name, c := range map[string]struct{ text, want string }{
		"an order that ends": {volumes(one + "}\n" + two + ", resync-after: one}\n"), ""},
		"a circle":           {volumes(one + ", resync-after: two}\n" + two + ", resync-after: one}\n"), "one would wait for itself"},
		"itself":             {volumes(one + ", resync-after: one}\n"), "one would wait for itself"},
		"nobody":             {volumes(one + ", resync-after: three}\n"), `there is no volume "three"`},
		"a calendar":         {volumes(one + ", verify-schedule: \"mon,thu 02:30\"}\n"), ""},
		"a wrong day":        {volumes(one + ", verify-schedule: \"sunday 03:00\"}\n"), "is not a day"},
		"a wrong word": {strings.Replace(Example, "links: [private]", "checksum-resync: perhaps", 1),
			"not auto, on or off"},
		"upside down": {strings.Replace(Example, "links: [private]", "resync-min-rate: 2MiB, resync-max-rate: 1MiB", 1),
			"above replication.resync-max-rate"},
	} {
		_, err := Parse("t.yaml", []byte(c.text))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
