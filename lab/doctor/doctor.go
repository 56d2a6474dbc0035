// Package doctor finds out what a host can do for the lab, and says for everything
// it cannot what is missing, why it is needed, how to mend it and what is lost
// without. It changes nothing.
package doctor

import "context"

// Finding is the answer of one probe.
type Finding struct {
	What     string `json:"what"`
	OK       bool   `json:"ok"`
	Detail   string `json:"detail"`             // what was found
	Why      string `json:"why,omitempty"`      // what needs it
	Fix      string `json:"fix,omitempty"`      // how to have it
	Fallback string `json:"fallback,omitempty"` // what works without; empty: nothing does
}

// Probe is one question. Ask returns what was found, or an error when it is not there.
type Probe struct {
	What     string
	Why      string
	Fix      string
	Fallback string
	Ask      func(context.Context) (detail string, err error)
}

// Examine asks every probe in turn.
func Examine(ctx context.Context, probes []Probe) []Finding {
	findings := make([]Finding, 0, len(probes))
	for _, probe := range probes {
		detail, err := probe.Ask(ctx)
		if err == nil {
			findings = append(findings, Finding{What: probe.What, OK: true, Detail: detail})
			continue
		}
		findings = append(findings, Finding{
			What: probe.What, Detail: err.Error(), Why: probe.Why, Fix: probe.Fix, Fallback: probe.Fallback,
		})
	}
	return findings
}

// Ready says whether the lab can run: every failed probe has a fallback.
func Ready(findings []Finding) bool {
	for _, finding := range findings {
		if !finding.OK && finding.Fallback == "" {
			return false
		}
	}
	return true
}
