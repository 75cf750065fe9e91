package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
)

// Requests and answers are frames of 16 bytes on one connection: cheap enough
// that ten times the capacity costs client and server little, and what is
// measured is admission. The server begins each request when it has read it.
type frame struct {
	id     uint32
	op     uint8
	tier   uint8
	status uint8
	value  uint64
}

const (
	opWork = iota // through the controller
	opBare        // without it
	opSet         // value: slots and percent of the usual time, 32 bits each
)

const (
	statusServed = iota + 1
	statusRefused
)

func (f frame) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, f.id)
	b = append(b, f.op, f.tier, f.status, 0)
	return binary.LittleEndian.AppendUint64(b, f.value)
}

func readFrame(r *bufio.Reader) (frame, error) {
	var b [16]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return frame{}, err
	}
	return frame{binary.LittleEndian.Uint32(b[:]), b[4], b[5], b[6], binary.LittleEndian.Uint64(b[8:])}, nil
}

// A writer sends what is queued, as much as there is with each call. It ends when
// the queue is closed or the connection fails, and then empties the queue.
func write(conn net.Conn, queue <-chan frame) {
	buffer := make([]byte, 0, 64<<10)
	failed := false
	for f := range queue {
		buffer = f.append(buffer[:0])
	more:
		for len(buffer) < 60<<10 {
			select {
			case f, ok := <-queue:
				if !ok {
					break more
				}
				buffer = f.append(buffer)
			default:
				break more
			}
		}
		if !failed {
			_, err := conn.Write(buffer)
			failed = err != nil
		}
	}
}
