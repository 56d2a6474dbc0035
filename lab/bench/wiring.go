package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Addresses of the boxes: a private cable between the two nodes, and a LAN
// whose switch is inside the witness's box.
const (
	addressA   = "198.18.91.1"
	addressB   = "198.18.91.2"
	lanA       = "198.18.92.1"
	lanB       = "198.18.92.2"
	lanWitness = "198.18.92.3"
)

// wiring is three boxes and their cables.
type wiring struct{ a, b, witness string } // names of network namespaces

// newWiring makes the boxes. Only the private cable gets a rate, as tc writes it.
func newWiring(r *room, rate string) (*wiring, error) { return newWiringOf(r, "", rate) }

// newWiringOf makes boxes beside others: what their names begin with tells them apart.
func newWiringOf(r *room, begin, rate string) (*wiring, error) {
	w := &wiring{}
	for short, ns := range map[string]*string{begin + "a": &w.a, begin + "b": &w.b, begin + "w": &w.witness} {
		var err error
		if *ns, err = r.namespace(short); err != nil {
			return nil, err
		}
		// What Debian's kernel has by default, for whoever is measured: BBR costs
		// timers, and not every subject can be told to do without.
		_ = command(r.ctx, "nsenter", "--net=/run/netns/"+*ns, "bash", "-c",
			"echo cubic > /proc/sys/net/ipv4/tcp_congestion_control")
	}
	if err := r.cable("private0", w.a, addressA, w.b, addressB, rate); err != nil {
		return nil, err
	}
	return w, w.lan(r)
}

func (w *wiring) lan(r *room) error {
	steps := [][]string{
		{"link", "add", "lan", "type", "bridge"},
		{"addr", "add", lanWitness + "/24", "dev", "lan"},
		{"link", "set", "lan", "up"},
	}
	for _, step := range steps {
		if err := command(r.ctx, "ip", append([]string{"-n", w.witness}, step...)...); err != nil {
			return err
		}
	}
	for _, box := range [][3]string{{"lan-a", w.a, lanA}, {"lan-b", w.b, lanB}} {
		if err := r.cable(box[0], box[1], box[2], w.witness, "", ""); err != nil {
			return err
		}
		if err := command(r.ctx, "ip", "-n", w.witness, "link", "set", box[0], "master", "lan"); err != nil {
			return err
		}
	}
	return nil
}

// waitPort waits until a TCP port answers somebody in the namespace.
func waitPort(r *room, ns, host, port string, watched ...*daemon) error {
	what := fmt.Sprintf("port %s of %s", port, host)
	return r.await(what, 10*time.Second, 50*time.Millisecond, watched, func() (bool, error) {
		err := command(r.ctx, "nsenter", "--net=/run/netns/"+ns, "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port)
		return err == nil, err
	})
}

// tcpLimit returns the MB/s of payload that one TCP stream carries over the private cable.
func (w *wiring) tcpLimit(r *room, seconds int) (float64, error) {
	server, err := r.start(w.b, "iperf3", "iperf3", "--server", "--bind", addressB)
	if err != nil {
		return 0, err
	}
	if err := waitPort(r, w.a, addressB, "5201", server); err != nil {
		return 0, err
	}
	out, err := output(r.ctx, "nsenter", "--net=/run/netns/"+w.a, "iperf3", "--json",
		"--client", addressB, "--omit", "1", "--time", strconv.Itoa(seconds))
	if err != nil {
		return 0, fmt.Errorf("%w %s", err, out)
	}
	var report struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return 0, fmt.Errorf("read iperf3's report: %w", err)
	}
	return report.End.Received.BitsPerSecond / 8 / 1e6, server.stop()
}
