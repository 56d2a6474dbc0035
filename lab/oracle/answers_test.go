package oracle

import (
	"errors"
	"testing"

	"gemel/lab/whohas"
)

func TestTwoServersMayNotAnswerOneQuestion(t *testing.T) {
	names := map[string]string{"a": "server1", "b": "server2"}
	for _, c := range []struct {
		macs   [][]string
		broken bool
	}{
		{nil, false}, {[][]string{{"a", "stranger"}}, false}, {[][]string{{"a", "stranger"}, {"b", "a"}}, true},
	} {
		var heard whohas.Report
		for _, macs := range c.macs {
			heard.Twice = append(heard.Twice, whohas.Twice{MACs: macs})
		}
		if err := oneAnswer(&heard, names); errors.Is(err, ErrBroken) != c.broken {
			t.Errorf("%v: %v", c.macs, err)
		}
	}
}
