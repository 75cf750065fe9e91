package stream

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// envelopeHeader is the length of what precedes each message of a stream in
// the Connect and gRPC protocols: a byte of flags and a big-endian uint32.
const envelopeHeader = 5

// message is a WatchResponse that was encoded once and is written to any
// number of streams. It is immutable.
type message struct {
	msg *plimsollv1.WatchResponse
	// envelope is the header followed by the protobuf encoding.
	envelope []byte
}

func encode(msg *plimsollv1.WatchResponse) (*message, error) {
	buf, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, envelopeHeader, envelopeHeader+proto.Size(msg)), msg)
	if err != nil {
		return nil, fmt.Errorf("encode a message of the stream: %w", err)
	}
	binary.BigEndian.PutUint32(buf[1:], uint32(len(buf)-envelopeHeader))
	return &message{msg: msg, envelope: buf}, nil
}

func (m *message) payload() []byte { return m.envelope[envelopeHeader:] }

// protoCodec and jsonCodec are connect-go's codecs, but for messages that are
// encoded already. connect-go takes slices that Marshal returns into its pool
// of buffers and would overwrite the shared bytes; hence MarshalAppend, which
// copies.
type protoCodec struct{}

func (protoCodec) Name() string { return "proto" }

func (protoCodec) Marshal(v any) ([]byte, error) { return protoCodec{}.MarshalAppend(nil, v) }

func (protoCodec) MarshalAppend(dst []byte, v any) ([]byte, error) {
	if m, ok := v.(*message); ok {
		return append(dst, m.payload()...), nil
	}
	m, err := asProto(v)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

func (protoCodec) Unmarshal(data []byte, v any) error {
	m, err := asProto(v)
	if err != nil {
		return err
	}
	return proto.Unmarshal(data, m)
}

type jsonCodec struct{}

func (jsonCodec) Name() string { return "json" }

func (jsonCodec) Marshal(v any) ([]byte, error) {
	if m, ok := v.(*message); ok {
		return protojson.Marshal(m.msg)
	}
	m, err := asProto(v)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(m)
}

func (jsonCodec) Unmarshal(data []byte, v any) error {
	m, err := asProto(v)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return errors.New("zero-length payload is not a valid JSON object")
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m)
}

func asProto(v any) (proto.Message, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", v)
	}
	return m, nil
}
