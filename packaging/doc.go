// Package packaging is the home of what an installation needs beside the binary:
// systemd units, the list of kernel modules, the Debian package. It holds no code
// but its tests, and nothing in node knows of it.
package packaging
