package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// Clients share the machine with the server that is measured, so they are as
// cheap as can be: a connection, a small buffer, and a goroutine that notes
// when a message is complete.

// protocol is how a client speaks to its server.
type protocol string

const (
	protocolEvents protocol = "events" // server-sent events, of the floor
	protocolHTTP1  protocol = "http1"  // Connect over HTTP/1.1
	protocolH2C    protocol = "h2c"    // Connect over HTTP/2 without TLS
	protocolReport protocol = "report" // HTTP/1.1, for reports and no stream
)

// clientsConfig says which clients to run.
type clientsConfig struct {
	Addr     string
	Protocol protocol
	Streams  int
	// Since is the position that every client claims to have, encoded.
	Since []byte
}

// clients are the connections of one process.
type clients struct {
	cfg   clientsConfig
	conns []*rawConn

	failed chan error // buffered: the first failure
	wire   atomic.Int64
	size   atomic.Int64

	lastBeat atomic.Int64

	// Rounds take turns with two sets of times: the next round begins only
	// when the last one is evaluated.
	times   [2][]int64
	arrived [2]atomic.Int64
	whole   chan int // the set that has arrived everywhere
	wired   int64    // wire when the round began
	reports uint64   // that every client has made
}

func (c *clients) handle(o order) (answer, error) {
	switch o.Op {
	case opConnect:
		return answer{}, c.connect(o.Clients)
	case opQuiet:
		return answer{}, c.quiet()
	case opRound:
		return c.hear()
	case opReport:
		return answer{}, c.report()
	}
	return answer{}, fmt.Errorf("unknown order %q", o.Op)
}

// connecting bounds how many connections are made at a time, below what a
// listener queues.
const connecting = 128

func (c *clients) connect(cfg clientsConfig) error {
	n := cfg.Streams
	c.cfg, c.conns = cfg, make([]*rawConn, n)
	c.failed, c.whole = make(chan error, 1), make(chan int, 1)
	for i := range c.times {
		c.times[i] = make([]int64, n)
	}
	var position *plimsollv1.Position
	if cfg.Since != nil {
		position = new(plimsollv1.Position)
		if err := proto.Unmarshal(cfg.Since, position); err != nil {
			return err
		}
	}
	return c.each(func(i int) error {
		conn, err := dialRaw(cfg.Addr, &c.wire)
		if err != nil {
			return err
		}
		c.conns[i] = conn
		if cfg.Protocol == protocolReport {
			return nil
		}
		if err := conn.open(cfg.Protocol, &plimsollv1.WatchRequest{Since: position, Client: clientInfo(i)}); err != nil {
			return err
		}
		go c.read(i, conn) // ends with the process
		return nil
	})
}

// each does something with every client, many at a time, and returns the first
// error.
func (c *clients) each(do func(i int) error) error {
	var work sync.WaitGroup
	places := make(chan struct{}, connecting)
	for i := range c.conns {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			if err := do(i); err != nil {
				c.fail(err)
			}
		})
	}
	work.Wait()
	select {
	case err := <-c.failed:
		return err
	default:
		return nil
	}
}

func (c *clients) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}

// read notes when messages arrive.
func (c *clients) read(i int, conn *rawConn) {
	for set := 0; ; {
		kind, size, err := conn.next()
		if err != nil {
			c.fail(fmt.Errorf("stream %d: %w", i, err))
			return
		}
		now := time.Now().UnixNano()
		if kind == eventHeartbeat {
			c.lastBeat.Store(now)
			continue
		}
		c.times[set][i] = now
		if c.arrived[set].Add(1) == int64(len(c.conns)) {
			c.size.Store(int64(size))
			c.whole <- set
		}
		set = 1 - set
	}
}

// hear waits until a change has arrived everywhere.
func (c *clients) hear() (answer, error) {
	select {
	case err := <-c.failed:
		return answer{}, err
	case set := <-c.whole:
		times := slices.Sorted(slices.Values(c.times[set]))
		c.arrived[set].Store(0)
		n := len(times)
		wire := c.wire.Load()
		a := answer{
			P50: times[n/2], P99: times[min(n*99/100, n-1)],
			Wire: float64(wire-c.wired) / float64(n), Size: int(c.size.Load()),
		}
		c.wired = wire
		return a, nil
	case <-time.After(orderTimeout / 2):
		return answer{}, fmt.Errorf("a change has reached %d and %d of %d streams", c.arrived[0].Load(), c.arrived[1].Load(), len(c.conns))
	}
}

const (
	// heartbeatEvery is the server's default.
	heartbeatEvery = 5 * time.Second
	// quietFor is how long a pair of rounds may take. A heartbeat within it
	// would be a fan-out of its own.
	quietFor = 2 * time.Second
	// beatsEnd is after how long without any the last one of a round has come.
	beatsEnd = 500 * time.Millisecond
)

// quiet waits until no heartbeat is due for a while.
func (c *clients) quiet() error {
	over := time.Now().Add(orderTimeout / 2)
	for time.Now().Before(over) {
		// The streams' heartbeats follow one another closely.
		idle := time.Since(time.Unix(0, c.lastBeat.Load()))
		if idle > beatsEnd && idle < heartbeatEvery-quietFor {
			c.wired = c.wire.Load()
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("the heartbeats of %d streams never pause: the machine is too slow or too busy", len(c.conns))
}

// report makes every client report once, and waits for the answers.
func (c *clients) report() error {
	var position plimsollv1.Position
	if err := proto.Unmarshal(c.cfg.Since, &position); err != nil {
		return err
	}
	c.reports++
	return c.each(func(i int) error {
		body, err := proto.Marshal(&plimsollv1.ReportRequest{
			Client: clientInfo(i), Seq: c.reports, Applied: &position, AppliedAge: durationpb.New(time.Minute),
			Source: plimsollv1.FlagSource_FLAG_SOURCE_STREAM, Interval: durationpb.New(10 * time.Second),
			Evaluations: []*plimsollv1.EvaluationCounts{
				{FlagKey: changedFlag, Outcomes: []*plimsollv1.OutcomeCount{{Variant: "aa", Reason: "STATIC", Count: 1000}}},
			},
		})
		if err != nil {
			return err
		}
		conn := c.conns[i]
		if err := conn.conn.SetDeadline(time.Now().Add(openTimeout)); err != nil {
			return err
		}
		if err := conn.post(plimsollv1connect.SyncServiceReportProcedure, "application/proto", body); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, conn.body)
		return err
	})
}

// clientInfo is what the i-th client says of itself.
func clientInfo(i int) *plimsollv1.ClientInfo {
	return &plimsollv1.ClientInfo{
		InstanceId: fmt.Sprintf("%032x", i), Service: "checkout", Agent: "plimsoll-go/0.1.0", Zone: "eu-west-1a",
	}
}

// rawConn is a connection that reads a stream message by message.
type rawConn struct {
	conn net.Conn
	in   *bufio.Reader // of the connection
	body *bufio.Reader // of the stream
	// lines tells that messages are lines with an empty one behind them, and
	// not envelopes.
	lines   bool
	payload []byte
}

// counted counts what is read from a connection.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// openTimeout bounds connecting, and the wait for the first message.
const openTimeout = time.Minute

func dialRaw(addr string, wire *atomic.Int64) (*rawConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &rawConn{conn: conn, in: bufio.NewReaderSize(counted{conn, wire}, 512)}, nil
}

// open begins a stream and reads its first message.
func (c *rawConn) open(p protocol, req *plimsollv1.WatchRequest) error {
	if err := c.conn.SetDeadline(time.Now().Add(openTimeout)); err != nil {
		return err
	}
	msg, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	request := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg))), msg...)
	switch p {
	case protocolEvents:
		c.lines = true
		err = c.get("/")
	case protocolHTTP1:
		err = c.post(plimsollv1connect.SyncServiceWatchProcedure, connectStream, request)
	case protocolH2C:
		err = c.postH2C(plimsollv1connect.SyncServiceWatchProcedure, connectStream, request)
	default:
		err = fmt.Errorf("protocol %q has no streams", p)
	}
	if err != nil {
		return err
	}
	if _, _, err := c.next(); err != nil {
		return fmt.Errorf("the first message: %w", err)
	}
	return c.conn.SetDeadline(time.Time{})
}

const connectStream = "application/connect+proto"

func (c *rawConn) get(path string) error {
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
		return err
	}
	return c.respond()
}

func (c *rawConn) post(path, contentType string, body []byte) error {
	if _, err := fmt.Fprintf(c.conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n"+
		"Content-Length: %d\r\n\r\n%s", path, contentType, len(body), body); err != nil {
		return err
	}
	return c.respond()
}

func (c *rawConn) respond() error {
	resp, err := http.ReadResponse(c.in, nil) //nolint:bodyclose // it ends with the connection
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	c.body = bufio.NewReaderSize(resp.Body, 512)
	return nil
}

// What of HTTP/2 (RFC 9113) one request on a connection needs.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	frameGoAway       = 7
	frameWindowUpdate = 8

	flagAck        = 1
	flagEndStream  = 1
	flagEndHeaders = 4

	settingInitialWindow = 4
	windowMax            = 1<<31 - 1
)

func frame(to []byte, kind, flags byte, streamID uint32, payload []byte) []byte {
	size := uint32(len(payload))
	to = append(to, byte(size>>16), byte(size>>8), byte(size), kind, flags)
	to = binary.BigEndian.AppendUint32(to, streamID)
	return append(to, payload...)
}

func (c *rawConn) postH2C(path, contentType string, body []byte) error {
	var header []byte
	for _, field := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":authority", "localhost"}, {":path", path},
		{"content-type", contentType},
	} {
		// A literal without indexing (RFC 7541, 6.2.2); all are below 127 bytes.
		header = append(header, 0, byte(len(field[0])))
		header = append(header, field[0]...)
		header = append(header, byte(len(field[1])))
		header = append(header, field[1]...)
	}
	// Windows that never close: the client grants nothing later.
	setting := binary.BigEndian.AppendUint32([]byte{0, settingInitialWindow}, windowMax)
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	out = frame(out, frameSettings, 0, 0, setting)
	out = frame(out, frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, windowMax-65535))
	out = frame(out, frameHeaders, flagEndHeaders, 1, header)
	out = frame(out, frameData, flagEndStream, 1, body)
	if _, err := c.conn.Write(out); err != nil {
		return err
	}
	c.body = bufio.NewReaderSize(&frames{c: c}, 512)
	return nil
}

// frames reads what the DATA frames of a connection carry.
type frames struct {
	c    *rawConn
	left int
}

func (f *frames) Read(p []byte) (int, error) {
	for f.left == 0 {
		var h [9]byte
		if _, err := io.ReadFull(f.c.in, h[:]); err != nil {
			return 0, err
		}
		size := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
		switch kind := h[3]; kind {
		case frameData:
			f.left = size
			continue
		case frameReset, frameGoAway:
			return 0, fmt.Errorf("the server has sent a frame of type %d", kind)
		case frameSettings:
			if h[4]&flagAck == 0 {
				if _, err := f.c.conn.Write(frame(nil, frameSettings, flagAck, 0, nil)); err != nil {
					return 0, err
				}
			}
		}
		if _, err := f.c.in.Discard(size); err != nil {
			return 0, err
		}
	}
	n, err := f.c.in.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

// eventHeartbeat and the others are the numbers of WatchResponse's events; a
// line of the floor is eventDelta.
const (
	eventSnapshot  = 2
	eventDelta     = 3
	eventLevel     = 4
	eventHeartbeat = 5
)

// next reads one message and returns which event it holds, and its size.
func (c *rawConn) next() (event, size int, err error) {
	if c.lines {
		for {
			line, err := c.body.ReadSlice('\n')
			if err != nil {
				return 0, 0, err
			}
			size += len(line)
			if len(line) == 1 {
				return eventDelta, size, nil
			}
		}
	}
	var h [5]byte
	if _, err := io.ReadFull(c.body, h[:]); err != nil {
		return 0, 0, err
	}
	size = int(binary.BigEndian.Uint32(h[1:]))
	c.payload = slices.Grow(c.payload[:0], size)[:size]
	if _, err := io.ReadFull(c.body, c.payload); err != nil {
		return 0, 0, err
	}
	if h[0] != 0 {
		return 0, 0, fmt.Errorf("the stream has ended with %.200s", c.payload)
	}
	event, err = eventOf(c.payload)
	return event, len(h) + size, err
}

// eventOf finds the event of an encoded WatchResponse.
func eventOf(msg []byte) (int, error) {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		if num >= eventSnapshot && num <= eventHeartbeat {
			return int(num), nil
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if m < 0 {
			return 0, protowire.ParseError(m)
		}
		msg = msg[n+m:]
	}
	return 0, errors.New("a message holds no event")
}
