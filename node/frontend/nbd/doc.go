// Package nbd speaks the Network Block Device protocol as a server, and shows a
// block.Device in two ways with it: as a socket for programs that speak NBD
// themselves (qemu-img, nbdcopy, fio), and as the kernel's own /dev/nbdN, whose
// other end of the sockets is this process.
//
// The protocol is the fixed newstyle handshake with GO, INFO, LIST, EXPORT_NAME
// and ABORT, then simple replies. Structured replies, TLS and metadata contexts
// are not offered: both ends are on one box.
//
// It is not a client, and it listens on no network: a volume must not have two
// ways around the agent's decision who may write.
package nbd
