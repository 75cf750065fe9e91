package flagd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	// envelopeHeader is the length of what precedes each message: a byte of
	// flags and a big-endian uint32.
	envelopeHeader = 5
	// maxStreamRequest bounds what opens a stream, which is little more than a
	// selector, in bytes.
	maxStreamRequest = 64 << 10
)

// message is encoded once and written to any number of streams. It is
// immutable.
type message struct {
	msg proto.Message
	// envelope is the header followed by the protobuf encoding.
	envelope []byte

	once sync.Once
	json []byte // as envelope, with JSON; made when first asked for
	err  error  // of that
}

func encode(msg proto.Message) (*message, error) {
	buf, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, envelopeHeader, envelopeHeader+proto.Size(msg)), msg)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("encode a message of a stream: %w", err))
	}
	binary.BigEndian.PutUint32(buf[1:], uint32(len(buf)-envelopeHeader))
	return &message{msg: msg, envelope: buf}, nil
}

// jsonEnvelope is the envelope for streams that are read as JSON.
func (m *message) jsonEnvelope() ([]byte, error) {
	m.once.Do(func() {
		buf, err := protojson.MarshalOptions{}.MarshalAppend(make([]byte, envelopeHeader), m.msg)
		if err != nil {
			m.err = connect.NewError(connect.CodeInternal, fmt.Errorf("encode a message of a stream: %w", err))
			return
		}
		binary.BigEndian.PutUint32(buf[1:], uint32(len(buf)-envelopeHeader))
		m.json = buf
	})
	return m.json, m.err
}

// mustEncode is encode for messages that are known to encode.
func mustEncode(msg proto.Message) *message {
	m, err := encode(msg)
	if err != nil {
		panic(err)
	}
	return m
}

// sink is where a stream's messages go.
type sink func(*message) error

// readyStream serves a server stream from envelopes that are encoded once for all
// clients. What it does not know it leaves to connect-go, which encodes and copies
// every message for every stream; and a sync's is a whole set.
type readyStream struct {
	request func() proto.Message
	serve   func(context.Context, proto.Message, sink) error
	rest    http.Handler
}

// ServeHTTP implements http.Handler.
func (s *readyStream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := framingOf(r)
	if f == nil {
		s.rest.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	ctx, cancel, err := f.deadline(r)
	if err == nil {
		defer cancel()
		err = s.stream(ctx, f, w, r)
	}
	f.end(w, err)
}

// stream serves. The caller's HTTP server bounds how long each write may take.
func (s *readyStream) stream(ctx context.Context, f *framing, w http.ResponseWriter, r *http.Request) error {
	req := s.request()
	if err := readRequest(r.Body, f, req); err != nil {
		return err
	}
	out := http.NewResponseController(w)
	return s.serve(ctx, req, func(m *message) error {
		envelope, err := f.envelope(m)
		if err != nil {
			return err
		}
		if _, err := w.Write(envelope); err != nil {
			return fmt.Errorf("write to the client: %w", err)
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write to the client: %w", err)
		}
		return nil
	})
}

// readRequest reads the single message of a request.
func readRequest(body io.Reader, f *framing, req proto.Message) error {
	var header [envelopeHeader]byte
	if _, err := io.ReadFull(body, header[:]); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the request holds no message: %w", err))
	}
	size := int64(binary.BigEndian.Uint32(header[1:]))
	switch {
	case size > maxStreamRequest:
		return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the request has %d bytes; the limit is %d", size, maxStreamRequest))
	case header[0] != 0:
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the request's envelope has unknown flags %#x", header[0]))
	}
	data, err := io.ReadAll(io.LimitReader(body, size)) // a promise of many bytes takes no memory
	if err == nil && int64(len(data)) < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("read the request: %w", err))
	}
	if n, err := io.CopyN(io.Discard, body, 1); n > 0 || !errors.Is(err, io.EOF) {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("the request holds more than one message"))
	}
	if err := f.decode(data, req); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("decode the request: %w", err))
	}
	return nil
}
