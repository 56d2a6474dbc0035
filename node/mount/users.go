package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// User is a process that keeps a mount busy.
type User struct {
	PID  int
	Name string
	What string // one thing it uses
}

// Users lists the processes that use files of the mount. It reads names in
// /proc only and does not touch the file system itself. Users in the kernel,
// such as a loop device on a file, are not seen.
func Users(m Mounted) []User {
	processes, _ := filepath.Glob("/proc/[0-9]*") // the pattern is sound
	var users []User
	for _, dir := range processes {
		if what := uses(dir, m.Path); what != "" {
			pid, _ := strconv.Atoi(filepath.Base(dir)) // the pattern is digits first
			name, _ := os.ReadFile(dir + "/comm")
			users = append(users, User{PID: pid, Name: strings.TrimSpace(string(name)), What: what})
		}
	}
	return users
}

func uses(dir, path string) string {
	links := []string{dir + "/cwd", dir + "/root"}
	if fds, err := os.ReadDir(dir + "/fd"); err == nil {
		for _, fd := range fds {
			links = append(links, dir+"/fd/"+fd.Name())
		}
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && below(to, path) {
			return to
		}
	}
	maps, _ := os.ReadFile(dir + "/maps") // it may have ended
	for _, line := range strings.Split(string(maps), "\n") {
		if i := strings.IndexByte(line, '/'); i > 0 && below(line[i:], path) {
			return line[i:]
		}
	}
	return ""
}

func below(file, path string) bool {
	return file == path || strings.HasPrefix(file, strings.TrimSuffix(path, "/")+"/")
}

// mostUsers bounds the list in a message.
const mostUsers = 5

func describe(users []User) string {
	if len(users) == 0 {
		return "no process was found; the kernel itself may use it (a loop device, an NFS export, a mount below)"
	}
	var words []string
	for _, u := range users[:min(len(users), mostUsers)] {
		words = append(words, fmt.Sprintf("%s (process %d) uses %s", u.Name, u.PID, u.What))
	}
	if more := len(users) - mostUsers; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, ", ")
}
