// Package vip makes this box answer for an address, and tells the network so.
//
// An address (VIP) is added as /32 or /128 without a prefix route, so that it is
// never chosen as a source and never takes other addresses with it when it
// goes. Before that the network is asked whether somebody else answers for it.
// While it is held it is announced: an ARP request and an ARP reply, since some
// receivers ignore one or the other (for IPv6 an unsolicited neighbour
// advertisement), at once, at 1.1 s spacing four times because Linux neighbours
// take one update per second, at 5 s, at 10 s, and every 30 s so that switches do
// not forget; again from the start when the carrier comes back. Each time the
// network is asked, too, and a listener reports every other box that claims the address
// or answers.
//
// From its claim until it is opened, and while it is dropped, nothing leaves the box
// with the address as its source: clients wait for services that are not there yet or
// any more. Opened, it makes clients of the box that had it before connect anew.
//
// The package does not decide who may hold an address: that is the lease's
// job. It keeps no state on disk; the kernel's address list is the state, so a
// restarted process adopts what it finds.
package vip
