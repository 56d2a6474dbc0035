package whohas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// lastAnswers is how long a run goes on listening after its last question.
const lastAnswers = 300 * time.Millisecond

// Run asks on an interface who has ip until ctx ends, once each interval.
func Run(ctx context.Context, iface string, ip netip.Addr, every time.Duration) (Report, error) {
	nic, err := net.InterfaceByName(iface)
	if err != nil {
		return Report{}, fmt.Errorf("ask on %s: %w", iface, err)
	}
	socket, err := open(nic.Index)
	if err != nil {
		return Report{}, fmt.Errorf("ask on %s: %w", iface, err)
	}
	var mu sync.Mutex
	t := newTally()
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			size, err := socket.Read(buf)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if n, mac, ok := decode(buf[:max(size, 0)], ip); err == nil && ok {
				mu.Lock()
				t.answer(n, mac, time.Now())
				mu.Unlock()
			}
		}
	})
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		mu.Lock()
		n := t.ask(time.Now())
		mu.Unlock()
		_, _ = socket.Write(encode(n, nic.HardwareAddr, ip)) // without a carrier nobody answers, which is counted
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	time.Sleep(lastAnswers)
	err = socket.Close()
	wg.Wait()
	return t.end(), err
}

// open returns a packet socket for ARP that also hears answers to the askers' addresses.
func open(index int) (*os.File, error) {
	const etherARPSwapped = etherARP<<8&0xff00 | etherARP>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, etherARPSwapped)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "packet socket")
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherARPSwapped, Ifindex: index})
	if err == nil {
		err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}) //nolint:gosec // an index is small
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare a packet socket: %w", err), file.Close())
	}
	return file, nil
}

// Command returns the verb `who-has`, which asks until it is interrupted, and prints
// the Report as JSON.
func Command() *cobra.Command {
	var iface string
	var every time.Duration
	cmd := &cobra.Command{
		Use:     "who-has ADDRESS",
		Short:   "ask the network who has an IPv4 address until interrupted, and count the answers by MAC",
		Example: "  lab exec client -- /opt/gemel/bin/lab who-has --interface lan0 198.18.0.250",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ip, err := netip.ParseAddr(args[0])
			if err != nil || !ip.Is4() {
				return fmt.Errorf("%q is no IPv4 address", args[0])
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			report, err := Run(ctx, iface, ip, every)
			if err != nil {
				return err
			}
			return write(cmd.OutOrStdout(), &report)
		},
	}
	cmd.Flags().StringVar(&iface, "interface", "lan0", "where to ask")
	cmd.Flags().DurationVar(&every, "every", 100*time.Millisecond, "time between two questions")
	return cmd
}

func write(w io.Writer, r *Report) error {
	if err := json.NewEncoder(w).Encode(r); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}
