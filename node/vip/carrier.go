package vip

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// relist is how often the links are listed anew even if the kernel reports no
// change: its reports can get lost.
const relist = 3 * time.Second

// Reports come in bursts, some for each address of a link: up to burst of them that
// follow within settle of each other count as one.
const (
	burst  = 64
	settle = time.Millisecond
)

// Up reports whether the interface can carry frames: it is up and has a
// carrier. Drivers that cannot tell (operational state unknown) count as having one.
func Up(iface string) (bool, error) {
	link, err := netlink.LinkByName(iface)
	if err != nil {
		return false, fmt.Errorf("look at interface %s: %w", iface, err)
	}
	return up(link), nil
}

func up(link netlink.Link) bool {
	a := link.Attrs()
	good := a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown
	return good && a.RawFlags&unix.IFF_UP != 0
}

// Watch calls f once for every interface at the start and then at every change
// of its carrier, until ctx ends; it returns nil then, and an error only when
// the kernel cannot be asked. A missing interface is down. f runs on the
// calling goroutine.
func Watch(ctx context.Context, ifaces []string, f func(iface string, up bool)) error {
	events, err := subscribe()
	if err != nil {
		return err
	}
	return watch(ctx, events, ifaces, f)
}

// watch lists the interfaces after whatever came on events, which it closes.
func watch(ctx context.Context, events *os.File, ifaces []string, f func(iface string, up bool)) error {
	stop := context.AfterFunc(ctx, func() { _ = events.Close() })
	defer stop()
	defer events.Close()
	known := make(map[string]bool, len(ifaces))
	buf := make([]byte, 1<<16)
	for ctx.Err() == nil {
		for _, name := range ifaces {
			now, _ := Up(name) // missing is down
			if was, seen := known[name]; !seen || was != now {
				known[name] = now
				f(name, now)
			}
		}
		if err := nextEvent(events, buf); err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch interfaces: %w", err)
		}
	}
	return nil
}

// subscribe opens a socket on which the kernel reports changes of links.
func subscribe() (*os.File, error) {
	const flags = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(unix.AF_NETLINK, flags, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch interfaces: open netlink: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		return nil, errors.Join(fmt.Errorf("watch interfaces: subscribe: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// nextEvent waits for a report or for relist, and takes the reports that wait behind
// it. What they say does not matter, and a lost one (ENOBUFS) neither: the links are
// listed anew afterwards, once for all of them.
func nextEvent(events *os.File, buf []byte) error {
	until := time.Now().Add(relist)
	for range burst {
		if err := events.SetReadDeadline(until); err != nil {
			return err
		}
		_, err := events.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return err
		}
		until = time.Now().Add(settle)
	}
	return nil
}
