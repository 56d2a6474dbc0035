package link

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"gemel/node/replicator/wire"
)

// sessionKey ties lanes to a session. With TLS nobody but the two ends knows it;
// on plain lanes it keeps lanes of different sessions apart, and no more.
type sessionKey struct {
	id  [16]byte
	key []byte
}

// newKey derives the key from the opening that both sides saw.
func newKey(l *lane, dialer, accepter *[16]byte) (sessionKey, error) {
	secret, err := l.secret()
	if err != nil {
		return sessionKey{}, fmt.Errorf("key of the session: %w", err)
	}
	key := sum(secret, "key", dialer[:], accepter[:])
	return sessionKey{id: [16]byte(sum(key, "id")), key: key}, nil
}

// SumKey is a key for checksums that both ends of the session know; another one in every session, and with TLS known
// to nobody else.
func (c *Conn) SumKey() [32]byte { return [32]byte(sum(c.key.key, "sums")) }

func sum(key []byte, label string, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(label))
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// proof is what one side sends for a lane; both random numbers are fresh.
func (k *sessionKey) proof(label string, dialer, accepter *[16]byte) [32]byte {
	return [32]byte(sum(k.key, label, dialer[:], accepter[:]))
}

// join is the dialer's half of bringing a lane into the session.
func (k *sessionKey) join(l *lane) error {
	mine := wire.Join{Session: k.id, Link: l.name}
	rand.Read(mine.Nonce[:])
	if err := l.talk(wire.Header{Type: wire.TypeJoin}, wire.AppendJoin(nil, &mine)); err != nil {
		return err
	}
	theirs, err := l.joinMessage(wire.TypeJoinReply)
	if err != nil {
		return err
	}
	want := k.proof("accept", &mine.Nonce, &theirs.Nonce)
	if theirs.Session != k.id || !hmac.Equal(want[:], theirs.Proof[:]) {
		return wire.Refuse(wire.WrongEcho, "the answer to a join is not of this session")
	}
	mine.Proof = k.proof("dial", &mine.Nonce, &theirs.Nonce)
	return l.talk(wire.Header{Type: wire.TypeJoinConfirm}, wire.AppendJoin(nil, &mine))
}

// answerJoin is the accepter's half.
func (k *sessionKey) answerJoin(l *lane, theirs *wire.Join) error {
	mine := wire.Join{Session: k.id, Link: theirs.Link}
	rand.Read(mine.Nonce[:])
	mine.Proof = k.proof("accept", &theirs.Nonce, &mine.Nonce)
	if err := l.talk(wire.Header{Type: wire.TypeJoinReply}, wire.AppendJoin(nil, &mine)); err != nil {
		return err
	}
	confirm, err := l.joinMessage(wire.TypeJoinConfirm)
	if err != nil {
		return err
	}
	want := k.proof("dial", &theirs.Nonce, &mine.Nonce)
	if confirm.Session != k.id || confirm.Nonce != theirs.Nonce || !hmac.Equal(want[:], confirm.Proof[:]) {
		return wire.Refuse(wire.WrongEcho, "the confirmation of a join is not of this session")
	}
	return nil
}

func (l *lane) joinMessage(want wire.Type) (wire.Join, error) {
	m, err := l.expect(want)
	if err != nil {
		return wire.Join{}, err
	}
	defer m.Release()
	return wire.ParseJoin(m.Payload)
}
