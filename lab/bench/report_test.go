package main

import (
	"strings"
	"testing"
)

func TestParseFio(t *testing.T) {
	const out = `nbd: a warning
{"jobs": [{"error": 0,
 "read":  {"iops": 10, "bw_bytes": 40960, "lat_ns": {"mean": 5000}, "clat_ns": {"percentile": {"99.000000": 9000}}},
 "write": {"iops": 20, "bw_bytes": 81920, "lat_ns": {"mean": 6000}, "clat_ns": {"percentile": {"99.000000": 8000}}},
 "sync":  {"lat_ns": {"mean": 70000, "percentile": {"99.000000": 90000}}}}]}`
	cases := map[string]struct {
		row  row
		want figures
	}{
		"write": {row{rw: "randwrite"}, figures{20, 0.08192, 6, 8, 0, 0}},
		"read":  {row{rw: "read"}, figures{10, 0.04096, 5, 9, 0, 0}},
		"fsync": {row{rw: "write", fsync: true}, figures{20, 0.08192, 70, 90, 0, 0}},
	}
	for name, c := range cases {
		if got, err := parseFio([]byte(out), c.row); err != nil || got != c.want {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, c.want)
		}
	}
	for name, bad := range map[string]string{"nothing": "", "failed job": `{"jobs": [{"error": 5}]}`, "no job": `{}`} {
		if _, err := parseFio([]byte(bad), rows[0]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReportComparesWhatWasMeasured(t *testing.T) {
	p := newReport(4, 1<<30)
	p.Rows[rows[0].Name][raw] = &figures{IOPS: 1000}
	p.Rows[rows[0].Name][alone] = &figures{IOPS: 500}
	p.Rows[rows[0].Name][replicated] = &figures{IOPS: 400}
	p.Syncs = []syncRate{{What: "gemel, 1gbit cable", MBps: 90, TCPLimit: 120}}
	var out strings.Builder
	p.write(&out)
	for _, want := range []string{
		"| 4k write qd1 | 1000 | 500 | 400 | - | 0.50 | 0.80 | - |",
		"| gemel, 1gbit cable | 90 | 120 | 75 % |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &out)
		}
	}
}
