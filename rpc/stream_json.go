package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// jsonStream is a unix socket connection as frames: JSON values one after another,
// each answer followed by a newline. It is its owner's: no memory is leased for what comes in.
type jsonStream struct {
	conn  net.Conn
	limit *io.LimitedReader
	dec   *json.Decoder
	max   int64
	wait  time.Duration // of one write
}

func newJSONStream(conn net.Conn, maxMessage int, writeTimeout time.Duration) *jsonStream {
	limit := &io.LimitedReader{R: conn}
	return &jsonStream{conn: conn, limit: limit, dec: json.NewDecoder(limit), max: int64(maxMessage), wait: writeTimeout}
}

func (j *jsonStream) read(*flight) ([]byte, error) {
	j.limit.N = j.max
	var raw json.RawMessage
	err := j.dec.Decode(&raw)
	if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
		return nil, &codeError{codeParse, "parse error"}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && j.limit.N == 0 {
		return nil, &codeError{codeInvalidRequest, fmt.Sprintf("message too large: send at most %d bytes", j.max)}
	}
	return raw, err
}

func (j *jsonStream) write(parts ...[]byte) error {
	j.conn.SetWriteDeadline(time.Now().Add(j.wait))
	all := net.Buffers(append(parts, []byte{'\n'}))
	_, err := all.WriteTo(j.conn)
	return err
}

func (j *jsonStream) ping() error { return nil } // the system tells when the other side has gone

func (j *jsonStream) stopReading() { j.conn.SetReadDeadline(time.Unix(1, 0)) }

func (j *jsonStream) close(closeReason) { j.conn.Close() }
