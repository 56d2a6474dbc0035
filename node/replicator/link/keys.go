package link

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// suite is a cipher suite of TLS 1.3.
type suite struct {
	key  int // bytes
	hash func() hash.Hash
	aead func(key []byte) (cipher.AEAD, error)
}

var suites = map[uint16]*suite{
	tls.TLS_AES_128_GCM_SHA256:       {16, sha256.New, gcm},
	tls.TLS_AES_256_GCM_SHA384:       {32, sha512.New384, gcm},
	tls.TLS_CHACHA20_POLY1305_SHA256: {chacha20poly1305.KeySize, sha256.New, chacha20poly1305.New},
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// direction is what seals or opens the records of one direction.
type direction struct {
	suite  *suite
	secret []byte
	aead   cipher.AEAD
	iv     [12]byte
	nonce  [12]byte
	seq    uint64 // of the next record
	most   uint64 // records that a key may seal
}

// set begins a key.
func (d *direction) set(secret []byte) error {
	key, err := d.expand(secret, "key", d.suite.key)
	if err != nil {
		return err
	}
	iv, err := d.expand(secret, "iv", len(d.iv))
	if err != nil {
		return err
	}
	if d.aead, err = d.suite.aead(key); err != nil {
		return fmt.Errorf("TLS: key of a direction: %w", err)
	}
	d.secret, d.iv, d.seq = secret, [12]byte(iv), 0
	return nil
}

// next goes over to the next key.
func (d *direction) next() error {
	secret, err := d.expand(d.secret, "traffic upd", d.suite.hash().Size())
	if err != nil {
		return err
	}
	return d.set(secret)
}

// expand is HKDF-Expand-Label without a context.
func (d *direction) expand(secret []byte, label string, length int) ([]byte, error) {
	const prefix = "tls13 "
	info := append([]byte{byte(length >> 8), byte(length), byte(len(prefix) + len(label))}, prefix+label...) //nolint:gosec // short
	out, err := hkdf.Expand(d.suite.hash, secret, string(append(info, 0)), length)
	if err != nil {
		return nil, fmt.Errorf("TLS: derive %s: %w", label, err)
	}
	return out, nil
}

// count returns the nonce of the next record.
func (d *direction) count() []byte {
	d.nonce = d.iv
	for i, seq := len(d.nonce)-1, d.seq; seq > 0; i, seq = i-1, seq>>8 {
		d.nonce[i] ^= byte(seq) //nolint:gosec // the lowest eight bits are meant
	}
	d.seq++
	return d.nonce[:]
}

// secrets are what crypto/tls tells a key log: the ground of both directions' keys.
type secrets struct{ client, server []byte }

// Write takes a line of the key log.
func (s *secrets) Write(line []byte) (int, error) {
	fields := bytes.Fields(line)
	if len(fields) != 3 {
		return len(line), nil
	}
	var into *[]byte
	switch string(fields[0]) {
	case "CLIENT_TRAFFIC_SECRET_0":
		into = &s.client
	case "SERVER_TRAFFIC_SECRET_0":
		into = &s.server
	default:
		return len(line), nil
	}
	*into = make([]byte, hex.DecodedLen(len(fields[2])))
	_, err := hex.Decode(*into, fields[2])
	return len(line), err
}

// newRecords goes on where the handshake ended: nothing else was sent under the
// keys of the data.
func newRecords(socket io.Writer, in *bufio.Reader, state *tls.ConnectionState, s *secrets, dials bool) (*records, error) {
	suite := suites[state.CipherSuite]
	if suite == nil || s.client == nil || s.server == nil || state.Version != tls.VersionTLS13 {
		return nil, errors.New("TLS: the handshake did not end with the keys of TLS 1.3")
	}
	r := &records{socket: socket, in: in}
	r.to, r.from = direction{suite: suite, most: keysFor}, direction{suite: suite}
	if !dials {
		s.client, s.server = s.server, s.client
	}
	return r, errors.Join(r.to.set(s.client), r.from.set(s.server))
}

// bounded gives crypto/tls one record at a time, so that it takes nothing that
// comes behind the handshake.
type bounded struct {
	in   *bufio.Reader
	left int // of the current record
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		head, err := b.in.Peek(recordHead)
		if err != nil {
			return 0, partial(head, err)
		}
		b.left = recordHead + int(head[3])<<8 + int(head[4])
	}
	n, err := b.in.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
