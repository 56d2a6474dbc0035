package api

import (
	"errors"
	"net/http"
)

// Codes of an Error: stable names for programs.
const (
	CodeRefused       = "refused"        // understood, and not done: the message says why and what to do next
	CodeForbidden     = "forbidden"      // the caller may not ask this
	CodeReplayed      = "replayed"       // a heartbeat that was seen already
	CodeTooLarge      = "too-large"      // body over MaxRequest
	CodeBadRequest    = "bad-request"    // not the JSON, path or method that belongs here
	CodeUnknownVolume = "unknown-volume" // no such volume in the configuration
	CodeUnsupported   = "unsupported"    // not this daemon's work
	CodeFailed        = "failed"         // tried, and failed
	CodeTimeout       = "timeout"        // not done within the time limit; it may still happen
)

// Error is the body of every reply that is not 200.
type Error struct {
	Message string `json:"message"` // what happened, to what, why, what to do next
	Code    string `json:"code"`
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is makes errors.Is(err, &Error{Code: CodeRefused}) compare codes.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Code == e.Code
}

// ErrUnreachable says that no daemon answered at all.
var ErrUnreachable = errors.New("no answer")

var httpStatus = map[string]int{
	CodeRefused: http.StatusConflict, CodeForbidden: http.StatusForbidden, CodeReplayed: http.StatusConflict,
	CodeTooLarge: http.StatusRequestEntityTooLarge, CodeBadRequest: http.StatusBadRequest,
	CodeUnknownVolume: http.StatusNotFound, CodeUnsupported: http.StatusNotImplemented, CodeTimeout: http.StatusGatewayTimeout,
}

func statusOf(code string) int {
	if s, ok := httpStatus[code]; ok {
		return s
	}
	return http.StatusInternalServerError
}
