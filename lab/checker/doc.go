// Package checker is the client that decides whether a pair kept its promise. Run
// writes numbered, checksummed records to the service address over NFSv3 and notes
// each one the server acknowledged; Verify reads every acknowledged record back and
// says which are missing or broken.
//
// A write counts as acknowledged when the server answered OK to a FILE_SYNC WRITE. A
// lost connection is no error: the same record is tried again, as a hard mount would.
//
// It is not a benchmark, and it knows nothing of nodes: it sees only an address.
package checker
