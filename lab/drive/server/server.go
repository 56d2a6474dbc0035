// Package server runs a simulated disk: a process of its own that shows it to the
// kernel as a loop device over one FUSE file, and takes orders on a unix socket in
// its directory. The directory is all that is needed to find a drive again, and its
// path in the process's arguments is what tells whose it is. It knows nothing of
// labs and boxes.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gemel/lab/drive"
	"gemel/lab/drive/model"
	"gemel/node/block"
	"gemel/node/frontend"
	"gemel/node/frontend/fuseloop"
	"gemel/node/replicator/disk"
)

// Owner begins the name under which the kernel lists a drive's loop device.
const Owner = "gemel-drive"

// Config is a drive, as its directory keeps it.
type Config struct {
	Name  string       `json:"name"`  // 1 to 48 bytes, a path element
	Image string       `json:"image"` // the backing file; made when missing
	Size  int64        `json:"size"`  // bytes, of an image that is made
	Model model.Params `json:"model"`
}

// Status is a drive as its server shows it.
type Status struct {
	drive.Report
	Name     string      `json:"name"`
	Device   string      `json:"device"` // such as /dev/loop5
	Image    string      `json:"image"`
	PID      int         `json:"pid"`
	LastLoss *drive.Loss `json:"last_loss,omitempty"` // of the newest power cut
}

const (
	configFile = "drive.json"
	lockFile   = "lock"
	logFile    = "drive.log"
)

// SocketPath returns where the server of a directory takes orders.
func SocketPath(dir string) string { return filepath.Join(dir, "drive.sock") }

func saveConfig(dir string, config Config) error {
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return fmt.Errorf("configuration of drive %s: %w", config.Name, err)
	}
	fresh := filepath.Join(dir, configFile+".new")
	if err := os.WriteFile(fresh, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("configuration of drive %s: %w", config.Name, err)
	}
	return os.Rename(fresh, filepath.Join(dir, configFile))
}

func loadConfig(dir string) (Config, error) {
	config := Config{}
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil {
		return config, fmt.Errorf("configuration of a drive: %w", err)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return config, fmt.Errorf("configuration of a drive in %s: %w", dir, err)
	}
	return config, frontend.CheckName(config.Name)
}

// server is one running drive.
type server struct {
	dir      string
	disk     *drive.Disk
	attached *fuseloop.Attachment
	log      *slog.Logger
	stop     context.CancelFunc

	mu       sync.Mutex // of what follows, and of orders that touch the backing file
	config   Config
	lastLoss *drive.Loss
}

// Serve runs the drive of a directory until ctx ends or it is told to stop. Call
// Enter first.
func Serve(ctx context.Context, dir string, log *slog.Logger) error {
	config, err := loadConfig(dir)
	if err != nil {
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return fmt.Errorf("drive %s: %w", config.Name, err)
	}
	defer unlock()
	if err := leaveMounts(dir, config.Image); err != nil {
		return fmt.Errorf("drive %s: %w", config.Name, err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &server{dir: dir, config: config, log: log, stop: stop}
	if err := s.open(ctx); err != nil {
		return fmt.Errorf("drive %s: %w", config.Name, err)
	}
	log.Info("the drive is there", "name", config.Name, "device", s.attached.Device(), "model", config.Model.Name)
	err = errors.Join(s.listen(ctx), s.close())
	log.Info("the drive is gone", "name", config.Name, "error", err)
	return err
}

// lock keeps a second server from the directory.
func lock(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("another process serves it: %w", err)
	}
	return func() { file.Close() }, nil
}

func (s *server) open(ctx context.Context) error {
	backing, err := openImage(s.config.Image, s.config.Size)
	if err != nil {
		return err
	}
	s.disk = drive.New(s.config.Model, backing, drive.NewRealTime())
	options := frontend.Options{Name: s.config.Name, Dir: s.dir, Owner: Owner}
	s.attached, err = fuseloop.Attach(ctx, options, s.disk.Device())
	if err != nil {
		return errors.Join(err, s.disk.Close())
	}
	return nil
}

// openImage opens the backing file past the page cache: a drive that filled the
// host's cache with dirty pages could be made to wait for itself.
func openImage(path string, size int64) (*disk.Disk, error) {
	if err := makeImage(path, size); err != nil {
		return nil, err
	}
	return disk.Open(path)
}

func makeImage(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the image: %w", err)
	}
	size -= size % block.Size
	// Allocated, so that nothing is measured by the host finding room block by block.
	err = unix.Fallocate(int(file.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = file.Truncate(size)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("make the image %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return nil
}

// listen answers on the socket until ctx ends, and lets the disk write what lands.
func (s *server) listen(ctx context.Context) error {
	path := SocketPath(s.dir)
	_ = os.Remove(path) // of an earlier life: the lock is ours
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("take orders: %w", err)
	}
	web := &http.Server{Handler: s.orders(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(
		slog.NewTextHandler(io.Discard, nil), slog.LevelError)}
	var running sync.WaitGroup
	running.Go(func() { s.disk.Tend(ctx) })
	running.Go(func() {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = web.Shutdown(last) // who still waits for an answer gets none
	})
	err = web.Serve(listener)
	s.stop()
	running.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("take orders: %w", err)
}

// detachWait is how long a drive that is told to stop waits for its users.
const detachWait = 2 * time.Second

// close takes the device away, by force if somebody still has it open.
func (s *server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), detachWait)
	defer cancel()
	err := s.attached.Detach(ctx, false)
	if err != nil {
		force, cancel := context.WithTimeout(context.Background(), detachWait)
		defer cancel()
		s.log.Warn("somebody uses the drive; it is taken away by force", "reason", err)
		s.disk.Reset()
		err = s.attached.Detach(force, true)
	}
	return errors.Join(err, s.disk.Close())
}
