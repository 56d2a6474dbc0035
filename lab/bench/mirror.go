package main

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

const mirrorPort = "10809"

// mirror is a qemu-storage-daemon that keeps a second copy of a file on another
// box before it completes a write (copy-mode write-blocking), over NBD, no TLS.
type mirror struct {
	target    target
	firstSync float64 // MB/s
	daemons   []*daemon
}

// newMirror starts both daemons on two boxes that are joined already and waits
// until the copies are equal.
func newMirror(r *room, w *wiring, size int64) (*mirror, error) {
	images, err := r.makeImages(size, "mirror-a.img", "mirror-b.img")
	if err != nil {
		return nil, err
	}
	far := "addr.type=inet,addr.host=" + addressB + ",addr.port=" + mirrorPort
	b, err := r.start(w.b, "mirror-b", "qemu-storage-daemon",
		"--blockdev", fileNode(images[1]), "--blockdev", "driver=raw,file=file,node-name=disk",
		"--nbd-server", far, "--export", "nbd,id=e,node-name=disk,name=disk,writable=on")
	if err != nil {
		return nil, err
	}
	qmp, nbd := filepath.Join(r.dir, "qmp.sock"), filepath.Join(r.dir, "nbd.sock")
	if err := waitPort(r, w.a, addressB, mirrorPort, b); err != nil {
		return nil, err
	}
	a, err := r.start(w.a, "mirror-a", "qemu-storage-daemon",
		"--chardev", "socket,id=c,path="+qmp+",server=on,wait=off", "--monitor", "chardev=c",
		"--blockdev", fileNode(images[0]), "--blockdev", "driver=raw,file=file,node-name=disk",
		"--blockdev", "driver=nbd,server.type=inet,server.host="+addressB+",server.port="+mirrorPort+",export=disk,node-name=far",
		"--nbd-server", "addr.type=unix,addr.path="+nbd, "--export", "nbd,id=e,node-name=disk,name=v,writable=on")
	if err != nil {
		return nil, err
	}
	m := &mirror{daemons: []*daemon{a, b}, target: target{uri: "nbd+unix:///v?socket=" + nbd}}
	m.firstSync, err = startMirroring(r, qmp, a, b)
	return m, err
}

func fileNode(image string) string {
	return "driver=file,filename=" + image + ",node-name=file,aio=native,cache.direct=on"
}

// startMirroring starts the job and returns the rate of the first sync in MB/s.
func startMirroring(r *room, socket string, daemons ...*daemon) (float64, error) {
	var q *qmp
	err := r.await("the mirror's monitor", 10*time.Second, 20*time.Millisecond, daemons, func() (bool, error) {
		var err error
		q, err = dialQMP(socket)
		return err == nil, err
	})
	if err != nil {
		return 0, err
	}
	defer func() { _ = q.conn.Close() }()
	started := time.Now()
	job := map[string]any{"job-id": "m", "device": "disk", "target": "far", "sync": "full", "copy-mode": "write-blocking"}
	if err := q.call("blockdev-mirror", job, nil); err != nil {
		return 0, err
	}
	var jobs []struct {
		Ready bool    `json:"ready"`
		Len   float64 `json:"len"`
	}
	err = r.await("the mirror's first sync", 5*time.Minute, 50*time.Millisecond, daemons, func() (bool, error) {
		err := q.call("query-block-jobs", nil, &jobs)
		return err == nil && len(jobs) == 1 && jobs[0].Ready, err
	})
	if err != nil {
		return 0, err
	}
	return jobs[0].Len / 1e6 / time.Since(started).Seconds(), nil
}

// qmp is a connection to a qemu monitor.
type qmp struct {
	conn net.Conn
	dec  *json.Decoder
}

func dialQMP(socket string) (*qmp, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("qemu monitor: %w", err)
	}
	q := &qmp{conn, json.NewDecoder(conn)}
	var greeting any
	if err = q.dec.Decode(&greeting); err == nil {
		err = q.call("qmp_capabilities", nil, nil)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("qemu monitor: %w", err)
	}
	return q, nil
}

// call executes one command and decodes its result, passing over events.
func (q *qmp) call(name string, args map[string]any, result any) error {
	request := map[string]any{"execute": name}
	if args != nil {
		request["arguments"] = args
	}
	if err := q.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return fmt.Errorf("qemu monitor: %w", err)
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return fmt.Errorf("qemu monitor: %s: %w", name, err)
	}
	for {
		var reply struct{ Return, Error, Event json.RawMessage }
		if err := q.dec.Decode(&reply); err != nil {
			return fmt.Errorf("qemu monitor: %s: %w", name, err)
		}
		switch {
		case reply.Event != nil:
		case reply.Error != nil:
			return fmt.Errorf("qemu refused %s: %s", name, reply.Error)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(reply.Return, result)
		}
	}
}
