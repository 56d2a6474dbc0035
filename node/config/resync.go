package config

import (
	"fmt"
	"slices"

	"gemel/node/schedule"
)

// Values of Replication.ChecksumResync.
const (
	ChecksumAuto = "auto" // after a crash, and for a replica that had data
	ChecksumOn   = "on"
	ChecksumOff  = "off"
)

// MinRate returns the rate in bytes per second below which a resync does not
// make way for the application; 0 means that it always does.
func (r Replication) MinRate() int64 {
	n, err := ParseSize(r.ResyncMinRate)
	if err != nil {
		return 0 // Load refused anything that does not parse
	}
	return n
}

// Schedule returns when the volume is verified.
func (v *Volume) Schedule() schedule.Schedule {
	s, err := schedule.Parse(v.VerifySchedule)
	if err != nil {
		return schedule.Schedule{} // Load refused anything that does not parse
	}
	return s
}

func checkResync(c *Config, r *reader) {
	low, high := c.Replication.MinRate(), c.Replication.MaxRate()
	if high > 0 && low > high {
		r.mistake("replication.resync-min-rate", "%s is above replication.resync-max-rate (%s)",
			c.Replication.ResyncMinRate, c.Replication.ResyncMaxRate)
	}
	if !slices.Contains([]string{ChecksumAuto, ChecksumOn, ChecksumOff}, c.Replication.ChecksumResync) {
		r.mistake("replication.checksum-resync", "%q is not auto, on or off", c.Replication.ChecksumResync)
	}
	for i := range c.Volumes {
		v := &c.Volumes[i]
		if _, err := schedule.Parse(v.VerifySchedule); err != nil {
			r.mistake(fmt.Sprintf("volumes[%d].verify-schedule", i), "%v", err)
		}
		if text := mistakenOrder(c, v); text != "" {
			r.mistake(fmt.Sprintf("volumes[%d].resync-after", i), "%s", text)
		}
	}
}

// mistakenOrder follows resync-after from v: it must end.
func mistakenOrder(c *Config, v *Volume) string {
	at := v
	for range len(c.Volumes) {
		if at.ResyncAfter == "" {
			return ""
		}
		next := c.Volume(at.ResyncAfter)
		if next == nil {
			return fmt.Sprintf("there is no volume %q", at.ResyncAfter)
		}
		at = next
	}
	return fmt.Sprintf("%s would wait for itself in the end", v.Name)
}
