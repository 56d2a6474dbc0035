package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"gemel/node/block"
)

// maxOption bounds the data of an option, in bytes: a name and a few numbers.
const maxOption = 4096 + 256

// errAborted: the client wants nothing more; a polite end of the handshake.
var errAborted = errors.New("the client ended the handshake")

// export is what the handshake tells a client.
type export struct {
	name  string
	size  int64
	offer uint16
}

// negotiate speaks the server's part of the fixed newstyle handshake. It
// returns nil when transmission begins.
func negotiate(rw io.ReadWriter, e export) error {
	b := binary.BigEndian.AppendUint64(nil, magicServer)
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint16(b, fixedNewstyle|noZeroes)
	if _, err := rw.Write(b); err != nil {
		return err
	}
	var flags [4]byte
	if _, err := io.ReadFull(rw, flags[:]); err != nil {
		return err
	}
	client := binary.BigEndian.Uint32(flags[:])
	if client&fixedNewstyle == 0 || client&^(fixedNewstyle|noZeroes) != 0 {
		return fmt.Errorf("%w: client flags %#x", errMalformed, client)
	}
	for {
		o, err := readOption(rw)
		if err != nil {
			return err
		}
		if done, err := o.answer(rw, e, client&noZeroes != 0); done || err != nil {
			return err
		}
	}
}

// option is one option of the handshake.
type option struct {
	kind   uint32
	data   []byte
	tooBig bool
}

func readOption(r io.Reader) (option, error) {
	var head [optionSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return option{}, err
	}
	kind, length, err := parseOption(head[:])
	if err != nil {
		return option{}, err
	}
	o := option{kind: kind, tooBig: length > maxOption}
	if o.tooBig {
		if kind == optExportName || length > MaxPayload {
			return o, fmt.Errorf("%w: option %d has %d bytes", errMalformed, kind, length)
		}
		_, err = io.CopyN(io.Discard, r, int64(length))
		return o, err
	}
	o.data = make([]byte, length)
	_, err = io.ReadFull(r, o.data)
	return o, err
}

// parseOption decodes a header of optionSize bytes.
func parseOption(b []byte) (kind, length uint32, err error) {
	if magic := binary.BigEndian.Uint64(b); magic != magicOption {
		return 0, 0, fmt.Errorf("%w: an option begins with %#x", errMalformed, magic)
	}
	return binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:]), nil
}

// answer replies to the option; done means that transmission begins.
func (o *option) answer(w io.Writer, e export, short bool) (done bool, err error) {
	if o.tooBig {
		return false, o.reply(w, repErrTooBig, []byte("the option is too long"))
	}
	switch o.kind {
	case optExportName:
		if !e.called(string(o.data)) {
			return false, fmt.Errorf("the client asked for %q: %w", o.data, errAborted)
		}
		return true, e.writeOld(w, short)
	case optAbort:
		_ = o.reply(w, repAck, nil) // the client may be gone already
		return false, errAborted
	case optList:
		return false, o.list(w, e)
	case optInfo, optGo:
		known, err := o.inform(w, e)
		return known && o.kind == optGo, err
	}
	return false, o.reply(w, repErrUnsup, nil)
}

// called reports whether a client that asks for name means this export; the
// empty name is the default export.
func (e export) called(name string) bool { return name == "" || name == e.name }

// writeOld ends the handshake as EXPORT_NAME wants it.
func (e export) writeOld(w io.Writer, short bool) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(e.size)) //nolint:gosec // never negative
	b = binary.BigEndian.AppendUint16(b, e.offer)
	if !short {
		b = append(b, make([]byte, 124)...)
	}
	_, err := w.Write(b)
	return err
}

func (o *option) list(w io.Writer, e export) error {
	if len(o.data) != 0 {
		return o.reply(w, repErrInvalid, []byte("LIST takes no data"))
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(e.name))) //nolint:gosec // a volume's name is short
	if err := o.reply(w, repServer, append(b, e.name...)); err != nil {
		return err
	}
	return o.reply(w, repAck, nil)
}

// inform answers GO and INFO; known is false when it refused.
func (o *option) inform(w io.Writer, e export) (known bool, err error) {
	name, ok := parseInform(o.data)
	if !ok {
		return false, o.reply(w, repErrInvalid, []byte("the lengths inside the option do not fit"))
	}
	if !e.called(name) {
		return false, o.reply(w, repErrUnknown, []byte("there is no such export here"))
	}
	about := binary.BigEndian.AppendUint16(nil, infoExport)
	about = binary.BigEndian.AppendUint64(about, uint64(e.size)) //nolint:gosec // never negative
	about = binary.BigEndian.AppendUint16(about, e.offer)
	sizes := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, n := range []uint32{block.Size, block.Size, MaxPayload} {
		sizes = binary.BigEndian.AppendUint32(sizes, n)
	}
	called := append(binary.BigEndian.AppendUint16(nil, infoName), e.name...)
	for _, info := range [][]byte{about, sizes, called} {
		if err := o.reply(w, repInfo, info); err != nil {
			return false, err
		}
	}
	return true, o.reply(w, repAck, nil)
}

// parseInform decodes the data of GO and INFO: the name, then the kinds of
// information wanted, which are passed over, since all there is gets told.
func parseInform(data []byte) (name string, ok bool) {
	if len(data) < 6 {
		return "", false
	}
	length := int64(binary.BigEndian.Uint32(data))
	if int64(len(data)) < 6+length {
		return "", false
	}
	wanted := int(binary.BigEndian.Uint16(data[4+length:]))
	return string(data[4 : 4+length]), len(data) == 6+int(length)+2*wanted
}

func (o *option) reply(w io.Writer, kind uint32, data []byte) error {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 20+len(data)), magicReply)
	b = binary.BigEndian.AppendUint32(b, o.kind)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data))) //nolint:gosec // ours, short
	_, err := w.Write(append(b, data...))
	return err
}
