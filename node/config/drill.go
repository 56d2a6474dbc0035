package config

import "gemel/node/schedule"

// Drill says when the pair switches over to see whether it can.
type Drill struct {
	Schedule string `mapstructure:"schedule"` // as package schedule reads it; empty: never
}

// When is when drills are due.
func (d Drill) When() schedule.Schedule {
	s, err := schedule.Parse(d.Schedule)
	if err != nil {
		return schedule.Schedule{} // Load refused anything that does not parse
	}
	return s
}

func checkDrill(c *Config, r *reader) {
	if _, err := schedule.Parse(c.Drill.Schedule); err != nil {
		r.mistake("drill.schedule", "%v", err)
	}
}
