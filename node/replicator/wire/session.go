package wire

// Types of a session and its connections.
const (
	// Join brings one more connection into a session, JoinReply and JoinConfirm
	// prove that both sides hold the session's key; payload is a Join.
	TypeJoin        Type = 40
	TypeJoinReply   Type = 41
	TypeJoinConfirm Type = 42
	// Resume moves a session's messages to this connection, ResumeReply agrees;
	// payload is a Resume.
	TypeResume      Type = 43
	TypeResumeReply Type = 44
	// Pulse shows on a connection that stands by that its sender lives, and how
	// far the session's messages got; with FlagReply it answers. ID is the
	// asker's clock, given back as it is; payload is a Pulse.
	TypePulse Type = 45
	// Confirm has no meaning but its header's Received.
	TypeConfirm Type = 46
)

// CodeUnknownSession on an Error refuses a Join: there is no such session here,
// so the sender's has ended.
const CodeUnknownSession = 1

// Join is the payload of TypeJoin, TypeJoinReply and TypeJoinConfirm. In the
// first one Proof is zero.
type Join struct {
	Session [16]byte // which session
	Nonce   [16]byte // drawn by the sender for this connection
	// Proof shows that the sender has the session's key and saw both nonces.
	Proof [32]byte
	Link  string // the link's name, as the dialer has it
}

// joinFixed is the length of a Join's fixed part: 16 session, 16 nonce, 32
// proof; then the link's name with one length byte. Bytes behind it are skipped.
const joinFixed = 64

// AppendJoin appends the join's bytes to dst.
func AppendJoin(dst []byte, j *Join) []byte {
	dst = append(dst, j.Session[:]...)
	dst = append(dst, j.Nonce[:]...)
	dst = append(dst, j.Proof[:]...)
	return appendName(dst, j.Link)
}

// ParseJoin reads a join. The error is a *Refused.
func ParseJoin(b []byte) (Join, error) {
	if len(b) < joinFixed {
		return Join{}, Refuse(Truncated, "join with %d bytes, %d are needed", len(b), joinFixed)
	}
	j := Join{Session: [16]byte(b), Nonce: [16]byte(b[16:]), Proof: [32]byte(b[32:])}
	var err error
	j.Link, _, err = cutName(b[joinFixed:])
	return j, err
}

// Resume is the payload of TypeResume and TypeResumeReply.
type Resume struct {
	// Turn grows with every try to move; the higher one counts.
	Turn uint64
	// Received is how many bytes of the session's messages the sender has
	// received, whole messages only: the other side goes on from there.
	Received uint64
	Reason   string // why the sender moves, for people; empty in the reply
}

// resumeSize is the length of a Resume's fixed part: 8 turn, 8 received; then
// the reason, cut at 1000 bytes.
const resumeSize = 16

// AppendResume appends the resume's bytes to dst.
func AppendResume(dst []byte, r *Resume) []byte {
	dst = be.AppendUint64(be.AppendUint64(dst, r.Turn), r.Received)
	return append(dst, r.Reason[:min(len(r.Reason), 1000)]...)
}

// ParseResume reads a resume. The error is a *Refused.
func ParseResume(b []byte) (Resume, error) {
	if len(b) < resumeSize {
		return Resume{}, Refuse(Truncated, "resume with %d bytes, %d are needed", len(b), resumeSize)
	}
	reason := b[resumeSize:]
	return Resume{Turn: be.Uint64(b), Received: be.Uint64(b[8:]), Reason: string(reason[:min(len(reason), 1000)])}, nil
}

// Pulse is the payload of TypePulse: how far the session's messages got on the
// connection that carries them.
type Pulse struct {
	Turn     uint64 // of the connection in use
	Received uint64 // as in Resume
	Sent     uint64 // bytes of messages that were sent, or wait to be
	Heard    uint64 // bytes that came in on the connection, of unfinished messages too
	// Waiting: the sender of the pulse waits for the next message; if not, it is
	// busy with the last one.
	Waiting bool
}

// pulseSize is the length of a Pulse: 8 turn, 8 received, 8 sent, 8 heard, 1
// waiting, 7 zero.
const pulseSize = 40

// AppendPulse appends the pulse's bytes to dst.
func AppendPulse(dst []byte, p *Pulse) []byte {
	for _, n := range [...]uint64{p.Turn, p.Received, p.Sent, p.Heard} {
		dst = be.AppendUint64(dst, n)
	}
	var last [8]byte
	if p.Waiting {
		last[0] = 1
	}
	return append(dst, last[:]...)
}

// ParsePulse reads a pulse. The error is a *Refused.
func ParsePulse(b []byte) (Pulse, error) {
	if len(b) < pulseSize {
		return Pulse{}, Refuse(Truncated, "pulse with %d bytes, %d are needed", len(b), pulseSize)
	}
	return Pulse{Turn: be.Uint64(b), Received: be.Uint64(b[8:]), Sent: be.Uint64(b[16:]), Heard: be.Uint64(b[24:]),
		Waiting: b[32]&1 != 0}, nil
}
