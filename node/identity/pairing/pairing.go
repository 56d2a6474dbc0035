// Package pairing gives a box its keys over an open network. Two people, or one
// who walks, compare six words that both boxes show; after that the box that
// keeps the authority signs the other one's key. Private keys never travel. It
// does not decide who may join: Host.Expect does, and the people.
//
// How: TLS 1.3 with throw-away certificates gives both sides a secret that
// nobody between them shares (RFC 5705 exporter). The joining side first commits
// itself to a random number, the host answers with one of its own, then the
// first is revealed; secret and both numbers make the words. Somebody in the
// middle has two different secrets and, since the number was committed before
// the answer was seen, one guess: 1 in 2^48 (the short authentication string of
// ZRTP, RFC 6189, has the same shape).
//
//	joining                              host
//	   │ ─ hello: version, who, key, commitment ▶ │
//	   │ ◀ reply: who, number, or refusal ─────── │
//	   │ ─ reveal: number ──────────────────────▶ │
//	   │      both show the words and ask         │
//	   │ ─ agree ───────────────────────────────▶ │
//	   │ ◀ grant: certificates, or refusal ────── │
//	   │ ─ kept ────────────────────────────────▶ │
//
// A message is 4 bytes of length, big endian, then so many bytes of JSON.
package pairing

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"gemel/node/identity"
)

// version of the conversation.
const version = 1

// Limits of a conversation.
const (
	maxMessage = 16 << 10         // bytes
	answerWait = 15 * time.Second // for what a program answers
	peopleWait = 5 * time.Minute  // for what people answer
)

// Why a pairing ends without keys.
var (
	ErrRefused  = errors.New("refused by the other box")
	ErrMismatch = errors.New("the words do not match")
	ErrProtocol = errors.New("the other side does not speak gemel pair")
)

// Confirm shows the words and asks whether the other box, which calls itself
// other, shows the same.
type Confirm func(ctx context.Context, other identity.Peer, words [Words]string) (bool, error)

type hello struct {
	Version    int
	Cluster    string
	Role, Name string
	Key        []byte // public, PKIX
	Commitment []byte
}

type reply struct {
	Version    int
	Cluster    string
	Role, Name string
	Number     []byte
	Refused    string
}

type reveal struct{ Number []byte }

type agree struct{ Yes bool }

type grant struct {
	Authority, Certificate []byte
	Refused                string
}

type kept struct{ Kept bool }

func number() ([]byte, error) {
	n := make([]byte, 32)
	_, err := rand.Read(n)
	return n, err
}

// commitment binds a hello to the number behind it.
func commitment(h hello, number []byte) []byte {
	h.Commitment = nil
	text, _ := json.Marshal(h) // plain fields: it cannot fail
	sum := sha256.Sum256(append(text, number...))
	return sum[:]
}

// words are what both sides show; a difference anywhere makes other words.
func words(conn *tls.Conn, h hello, r reply, mine []byte) ([Words]string, error) {
	state := conn.ConnectionState()
	secret, err := state.ExportKeyingMaterial("EXPORTER-gemel-pair", h.Commitment, 32)
	if err != nil {
		return [Words]string{}, err
	}
	text, _ := json.Marshal(r)
	key, err := hkdf.Key(sha256.New, secret, append(append([]byte(nil), mine...), text...), "gemel pair words", Words)
	if err != nil {
		return [Words]string{}, err
	}
	return spell(key), nil
}

// send writes one message.
func send(conn net.Conn, m any) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(answerWait)); err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

// receive reads one message into m, waiting for at most wait.
func receive(ctx context.Context, conn net.Conn, m any, wait time.Duration) error {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return ended(ctx, err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxMessage {
		return fmt.Errorf("%w: it announced a message of %d bytes", ErrProtocol, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(conn, body); err != nil {
		return ended(ctx, err)
	}
	if err := json.Unmarshal(body, m); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return nil
}

func ended(ctx context.Context, err error) error {
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the other box did not answer in time")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the other box ended the conversation")
	}
	return err
}
