package replicator

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gemel/node/config"
	"gemel/node/frontend/keeper"
)

// marker tells the program that it was started anew in its own mount namespace;
// its value is the namespace's name.
const marker = "GEMEL_REPLICATOR_NAMESPACE"

const (
	ownNamespace  = "/proc/thread-self/ns/mnt"
	initNamespace = "/proc/1/ns/mnt"
)

// enterNamespace makes sure that the process lives in a mount namespace apart
// from the one where volumes are mounted: one process group dying at once must
// not unmount a file system that waits for this very process. Started in the
// namespace of process 1 it makes a new one and starts the program anew inside,
// with the same process number; it does not return then.
func enterNamespace(cfg *config.Config, log *slog.Logger) error {
	own, err := os.Readlink(ownNamespace)
	if err != nil {
		return fmt.Errorf("find the mount namespace: %w", err)
	}
	first, err := os.Readlink(initNamespace)
	if own == os.Getenv(marker) || err == nil && own != first {
		return os.Unsetenv(marker)
	}
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("enter a mount namespace: %w", err)
	}
	// Never unlocked: the namespace belongs to this thread until exec makes it
	// the only one.
	runtime.LockOSThread()
	if err := leaveNamespace(cfg, log); err != nil {
		return err
	}
	own, err = os.Readlink(ownNamespace)
	if err != nil {
		return fmt.Errorf("find the mount namespace: %w", err)
	}
	err = unix.Exec(executable, os.Args, append(os.Environ(), marker+"="+own)) //nolint:gosec // this program
	return fmt.Errorf("start %s in its mount namespace: %w", executable, err)
}

// leaveNamespace gives the thread a mount namespace of its own, in which neither
// the volumes of an earlier life are mounted nor anybody else's disks.
func leaveNamespace(cfg *config.Config, log *slog.Logger) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace for the replicator: %w; it needs CAP_SYS_ADMIN, run it as root", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the replicator's mounts private: %w", err)
	}
	leaveMounts(cfg, log)
	// Best effort: memory for I/O must not wait for I/O on our own device.
	if err := unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0); err != nil {
		log.Info("the kernel does not let the replicator be an I/O flusher; do not put swap on a volume", "reason", err)
	}
	return nil
}

// volumeMounts returns where volumes are, or may be, mounted: at the configured
// paths, and wherever somebody mounted a device that outlived its replicator.
// Such a mount, kept in the namespace, would keep the device in use for ever.
func volumeMounts(cfg *config.Config, table string) []string {
	var paths []string
	for _, v := range cfg.Volumes {
		if v.Mount.Path != "" {
			paths = append(paths, v.Mount.Path)
		}
		var st unix.Stat_t
		if cfg.DeviceDir == "" || unix.Stat(filepath.Join(cfg.DeviceDir, v.Name), &st) != nil {
			continue
		}
		paths = append(paths, mountedFrom(table, fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))...)
	}
	return paths
}

// plainPath undoes what mountinfo does to blanks in paths.
var plainPath = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// mountedFrom returns the mount points of a device number in a mountinfo table.
func mountedFrom(table, number string) (paths []string) {
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 4 && f[2] == number {
			paths = append(paths, plainPath.Replace(f[4]))
		}
	}
	return paths
}

// leaveMounts takes out of the namespace what the replicator has no use for. A copy
// of a mount keeps its device in use when everybody else has unmounted it.
func leaveMounts(cfg *config.Config, log *slog.Logger) {
	table, _ := os.ReadFile("/proc/thread-self/mountinfo") // without it the configured ones
	needed := []string{"/usr", "/lib", "/etc", "/var", "/run", "/tmp", cfg.StateDir, cfg.UndoDirectory(), cfg.RunDir,
		cfg.DeviceDir, cfg.Keys, cfg.Path()}
	if executable, err := os.Executable(); err == nil {
		needed = append(needed, executable)
	}
	for _, v := range cfg.Volumes {
		needed = append(needed, v.Device, v.Apart())
	}
	for _, path := range append(spareMounts(string(table), withTargets(needed)), volumeMounts(cfg, string(table))...) {
		if unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
			log.Info("a mount is left out of the replicator's namespace", "path", path)
		}
	}
}

// withTargets adds to paths what they are behind symbolic links.
func withTargets(paths []string) (all []string) {
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			continue
		}
		all = append(all, filepath.Clean(path))
		if target, err := filepath.EvalSymlinks(path); err == nil {
			all = append(all, target)
		}
	}
	return all
}

// spareMounts returns where the file systems of block devices are mounted on which
// none of the needed paths lies, inner ones first.
func spareMounts(table string, needed []string) (spare []string) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 5 || strings.HasPrefix(f[2], "0:") { // without a device there is nothing to keep in use
			continue
		}
		mount := plainPath.Replace(f[4])
		if within(mount, "/etc") { // single files of a container, such as its table of hosts
			continue
		}
		if !slices.ContainsFunc(needed, func(path string) bool { return within(path, mount) }) {
			spare = append(spare, mount)
		}
	}
	slices.Reverse(spare)
	return spare
}

func within(path, mount string) bool {
	return mount == "/" || path == mount || strings.HasPrefix(path, mount+"/")
}

// startKeeper sees to it that what outlives this process is kept, where a volume may
// be shown in a way that needs it. Without a keeper a restart ends such a device.
func startKeeper(cfg *config.Config, log *slog.Logger) *keeper.Client {
	needed := slices.ContainsFunc(cfg.Volumes, func(v config.Volume) bool {
		return v.Frontend == config.FrontendFuseLoop || v.Frontend == config.FrontendAuto
	})
	if !needed {
		return nil
	}
	dir := frontendDir(cfg)
	program, err := os.Executable()
	if err == nil {
		var k *keeper.Client
		if k, err = keeper.Ensure(program, []string{"keeper", dir}, dir); err == nil {
			return k
		}
	}
	log.Warn("devices shown through FUSE end with errors when this replicator is restarted: nothing keeps them", "reason", err)
	return nil
}

// lockMemory keeps the process out of swap, page by page as it uses them.
func lockMemory(log *slog.Logger) {
	err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	if err != nil {
		log.Warn("the replicator's memory is not locked; swap can slow it down",
			"reason", err, "next", "give it CAP_IPC_LOCK or LimitMEMLOCK=infinity")
		return
	}
	log.Info("the replicator's memory is locked")
}
