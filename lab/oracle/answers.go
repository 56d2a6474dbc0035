package oracle

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gemel/lab/cluster"
	"gemel/lab/whohas"
)

// OneAnswerAtATime judges what a client heard while it asked all the time who has
// the cluster's address. The rule: no question is answered by both servers. Each question
// reaches both at the same moment, and a kernel answers at once if it has the address,
// so two answers mean two holders. Others than the servers may answer what they like.
func (o *Oracle) OneAnswerAtATime(ctx context.Context, heard *whohas.Report) error {
	names := map[string]string{}
	for _, name := range Servers {
		said, err := o.exec(ctx, name, "cat", "/sys/class/net/"+cluster.NIC(cluster.LAN)+"/address")
		if err != nil {
			return err
		}
		names[strings.TrimSpace(said.Stdout)] = name
	}
	return oneAnswer(heard, names)
}

func oneAnswer(heard *whohas.Report, names map[string]string) error {
	var told []string
	for _, twice := range heard.Twice {
		var both []string
		for _, mac := range twice.MACs {
			if name := names[mac]; name != "" {
				both = append(both, name)
			}
		}
		if slices.Sort(both); len(both) > 1 {
			told = append(told, fmt.Sprintf("%s at %s", strings.Join(both, " and "), twice.At.Format("15:04:05.000")))
		}
	}
	if len(told) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d questions for %s were answered by both servers: %s", ErrBroken, len(told), cluster.VIP,
		strings.Join(told[:min(len(told), 5)], "; "))
}
