package core

import (
	"gemel/node/arbiter"
	"gemel/node/block"
)

// ID names a request or a payload. Zero is none. IDs are reused only after the
// last action that names them.
type ID uint64

// ActionKind tells what an Action wants.
type ActionKind uint8

// Actions. Those of one Take are carried out in order; Write, Read, Sync,
// Persist, SaveBitmap, Log and SavePages are started in order and end with an
// event. SaveBitmap and SavePages take what they write when they begin to write
// it, and do that one after the other.
const (
	Write      ActionKind = iota + 1 // payload ID to Range of the local disk, or what Op says → LocalDone
	Read                             // Range of the local disk into a payload for ID → LocalDone
	Sync                             // local disk → SyncDone
	Send                             // Msg to the peer, with the payload of Msg.Payload
	Complete                         // application request ID with Err
	Persist                          // Meta → Persisted
	SaveBitmap                       // sync the local disk, then Bitmap to stable storage → BitmapSaved
	Drop                             // end the connection because of Err; ConnDown was already taken into account
	Release                          // payload ID is not needed any more
	Changed                          // View differs
	SaveUndo                         // blocks of Losing, as the local disk holds them, to stable storage → UndoSaved with Version
	Digest                           // read Range of the local disk, keep its sums as payload ID → LocalDone
	ReadDigest                       // as Read, and keep the sums as well → LocalDone
	Compare                          // the sums kept for ID with the peer's → Compared
	Log                              // Transaction to stable storage → Logged
	SavePages                        // Pages to stable storage → PagesSaved
	Measure                          // how many bytes the data area here has room for → Measured with Version
	Blank                            // zeroes to Range behind the volume, no bits for it in the saved bitmap, all stable → Blanked
)

// Action is one thing the shell must do.
type Action struct {
	Kind    ActionKind
	ID      ID
	Range   block.Range
	Op      Op   // of Write
	FUA     bool // of Write: it must be stable before LocalDone
	Err     error
	Version uint64
	Msg     Msg
}

// MsgKind names a message between two cores.
type MsgKind uint8

// Messages. From the Primary: Data, ResyncData, Barrier, Begin, End, Terms, Ask,
// VerifyNote. From the Secondary: Ack, Received, BarrierAck, BeginAck, EndAck,
// TermsAck, Bits, BitsEnd, Failed, Sums.
const (
	Data       MsgKind = iota + 1 // a write of the application: ID, Range, payload
	ResyncData                    // blocks of a resync: ID, Range, payload
	Ack                           // ID is on the disk, perhaps only in its cache unless FUA was asked for
	Barrier                       // make stable what came before: ID
	BarrierAck
	Bits     // Words of the Secondary's bitmap from word ID
	BitsEnd  // that was all of them
	Begin    // you are the target: Gen to carry meanwhile, From the source's, Full
	BeginAck // so recorded
	End      // you have everything: carry Gen
	EndAck   // stable and so recorded
	Failed   // the Secondary's disk failed
	Ping     // nothing to say; for the shell's use

	ReadRequest // of the Primary, whose disk failed: ID, Range
	ReadReply   // ID, Range, payload
	ReadFailed  // the Secondary's disk failed at it as well: ID, Range
	Received    // ID has arrived, and is not on the disk yet
	Terms       // from now on writes complete under protocol ID
	TermsAck    // protocol ID is noted on stable storage

	Ask  // what does Range hold: ID
	Sums // it holds what these sums say, or it is Bad: ID, Range, payload
	VerifyNote

	Grow // a Step towards a larger volume: a size as ID

	// Met, MetAck and MetKnown renew a meeting; they are for the shell's use.
	Met
	MetAck
	MetKnown

	Entrust    // of a Primary whose disk failed: yours is the only copy, carry Gen
	EntrustAck // so recorded
)

// Msg is a message. Payload is the local ID of the bytes that travel with it,
// if Op is one that has bytes.
type Msg struct {
	Kind MsgKind
	Op   Op   // of Data and ResyncData
	FUA  bool // of Data: Ack it when it is stable
	// After, of Data: apply it only when all Data before it is written.
	After bool
	// Receipt, of Data: answer Received when it arrives.
	Receipt bool
	Full    bool
	// Epoch of the Primary's reign, in both directions.
	Epoch   arbiter.Epoch
	ID      uint64
	Range   block.Range
	Gen     block.Generation
	From    block.Generation
	Words   []uint64
	Payload ID
	At      int64 // where in the payload Range begins
	Bad     bool  // Sums: the blocks cannot be read; Ack: ID could not be written
	Step    GrowStep
}

func (c *Core) emit(a Action) { c.out = append(c.out, a) }

func (c *Core) send(m Msg) {
	m.Epoch = c.served()
	c.out = append(c.out, Action{Kind: Send, Msg: m})
}

// served is the epoch of the own reign, or of the connected Primary's.
func (c *Core) served() arbiter.Epoch {
	if c.primary {
		return c.reign
	}
	return c.peerEpoch
}

// Take returns the actions since the last Take; the slice is valid until the
// next event.
func (c *Core) Take() []Action {
	out := c.out
	c.out = c.out[:0]
	return out
}
