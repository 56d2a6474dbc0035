package nfs3

import (
	"errors"
	"fmt"
)

// Status is the result number of an NFSv3 or MOUNT call (RFC 1813); 0 is success.
type Status uint32

// The statuses callers and fakes name.
const (
	StatusOK      Status = 0
	StatusNoEnt   Status = 2
	StatusIO      Status = 5
	StatusExist   Status = 17
	StatusStale   Status = 70
	StatusJukebox Status = 10008
)

var statusNames = map[Status]string{
	1: "not owner", 2: "no such file", 5: "input/output error", 13: "permission denied",
	17: "file exists", 20: "not a directory", 21: "is a directory", 22: "invalid argument",
	27: "file too large", 28: "no space left", 30: "read-only file system", 69: "quota exceeded",
	70: "stale file handle", 10001: "bad file handle", 10004: "not supported",
	10006: "server fault", 10008: "try again later",
}

func (s Status) String() string {
	if n, ok := statusNames[s]; ok {
		return n
	}
	return fmt.Sprintf("status %d", uint32(s))
}

// StatusError is an answer of the server that is not success. Everything else that a
// call returns as error is a failure of the transport: nobody knows whether the call ran.
type StatusError struct {
	Op     string
	Status Status
}

func (e *StatusError) Error() string { return fmt.Sprintf("%s: server says: %v", e.Op, e.Status) }

// Refusal returns the server's status when err is an answer, and false when err is a
// failure of the transport or nil.
func Refusal(err error) (Status, bool) {
	var se *StatusError
	if errors.As(err, &se) {
		return se.Status, true
	}
	return StatusOK, false
}

// Temporary reports whether the server asked to try again: a client does so without
// telling the program. Servers answer this way during their grace period.
func Temporary(err error) bool {
	s, ok := Refusal(err)
	return ok && s == StatusJukebox
}
