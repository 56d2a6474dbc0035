// Package onefile answers the kernel's FUSE requests for a file system whose root
// is one regular file: a block.Device. It is not a general FUSE library: it mounts
// nothing, knows no directory and no second file, and keeps no state per open file,
// so that another process can go on where this one ended.
//
// # What it promises to a process that is killed
//
// The kernel copies a request into the memory of the process that reads it. When
// that process is being killed and the page is not there yet, the kernel does not
// fetch the page any more: it ends the request with EIO. So every request is read
// into memory that was touched beforehand and stays (see frames), and a request that
// was read and not answered can be asked again of the next process.
//
// # Messages
//
// All numbers are in the box's byte order; see include/uapi/linux/fuse.h. Only what
// is used is drawn. A request, and behind it what the operation brings:
//
//	 0        4         8                16               24           40
//	+--------+---------+----------------+----------------+------------+
//	| length | opcode  | unique         | node           | who asks   |
//	+--------+---------+----------------+----------------+------------+
//	INIT       | major 4 | minor 4 | readahead 4 | flags 4 | flags2 4 | 44 |
//	READ       | handle 8 | offset 8 | size 4 | 20 |
//	WRITE      | handle 8 | offset 8 | size 4 | 20 | data, at byte 80
//	FALLOCATE  | handle 8 | offset 8 | length 8 | mode 4 | 4 |
//
// An answer, and behind it what the operation returns; an error comes alone:
//
//	 0        4         8                16
//	+--------+---------+----------------+
//	| length | -errno  | unique         |
//	+--------+---------+----------------+
//	INIT       | major 4 | minor 4 | readahead 4 | flags 4 | background 2 | congestion 2 |
//	           | max write 4 | time granularity 4 | max pages 2 | 2 | flags2 4 | 28 |
//	GETATTR    | valid s 8 | valid ns 4 | 4 | inode 8 | size 8 | blocks 8 | 36 |
//	           | mode 4 | links 4 | 12 | block size 4 | 4 |
//	OPEN       | handle 8 | flags 4 | 4 |
//	READ       | data
//	WRITE      | size 4 | 4 |
//	STATFS     | blocks 8 | 32 | block size 4 | name 4 | fragment 4 | 28 |
//
// A message that the kernel did not ask for has no unique number, and its code where
// an answer has its error.
package onefile
