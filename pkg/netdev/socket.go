// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// receiveBufferSize holds the longest datagram that the kernel sends, a
	// part of a dump.
	receiveBufferSize = 64 << 10

	// pipelined is the number of requests that travel in one datagram. Their
	// answers must fit into the default receive buffer of a socket, and each
	// is charged there with a little over 4 KiB.
	pipelined = 32

	// answerTimeout bounds the wait for an answer, which the kernel has
	// normally queued before the request's system call returns.
	answerTimeout = 5 * time.Second
)

// socket is a netlink route socket. The netlink library asks one thing at a
// time and takes each datagram through 64 KiB of fresh memory; with requests in
// batches and one buffer, looking up the routes of 100,000 backends and
// following a busy neighbour table costs a third.
//
// A socket stays in the network namespace that it was opened in. Its methods
// must not be called concurrently, except close.
type socket struct {
	file   *os.File
	raw    syscall.RawConn
	in     []byte
	out    []byte
	seq    uint32
	closed atomic.Bool
}

// openSocket opens a socket that receives the events of the given groups, if
// any, in the network namespace of the calling thread.
func openSocket(groups ...uint) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	// CAP_ACK keeps the kernel from sending each refused request back.
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("setting up a netlink socket: %w", err)
	}
	addr := unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		addr.Groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, &addr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("binding a netlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("setting up a netlink socket: %w", err)
	}
	return &socket{file: file, raw: raw, in: make([]byte, receiveBufferSize)}, nil
}

// close releases the socket; a receive that waits returns os.ErrClosed.
func (s *socket) close() {
	s.closed.Store(true)
	_ = s.file.Close()
}

// setReceiveBuffer sets how many bytes the kernel may queue. With the right
// to do so it is not bound by net.core.rmem_max.
func (s *socket) setReceiveBuffer(size int) error {
	var setErr error
	err := s.raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
		if setErr != nil {
			setErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		}
	})
	return errors.Join(err, setErr)
}

// receive waits for one datagram and calls fn with each message in it. The
// message's data is valid until fn returns.
func (s *socket) receive(fn func(syscall.NetlinkMessage)) error {
	return s.read(true, fn)
}

// tryReceive is receive without the wait: it returns unix.EAGAIN when nothing
// is queued.
func (s *socket) tryReceive(fn func(syscall.NetlinkMessage)) error {
	return s.read(false, fn)
}

func (s *socket) read(wait bool, fn func(syscall.NetlinkMessage)) error {
	var (
		n       int
		from    unix.Sockaddr
		readErr error
	)
	err := s.raw.Read(func(fd uintptr) bool {
		n, from, readErr = unix.Recvfrom(int(fd), s.in, 0)
		return !wait || readErr != unix.EAGAIN
	})
	switch {
	case s.closed.Load():
		return os.ErrClosed
	case err != nil:
		return err
	case readErr != nil:
		return readErr
	}
	if addr, ok := from.(*unix.SockaddrNetlink); !ok || addr.Pid != nl.PidKernel {
		return nil // some process, not the kernel
	}
	messages, err := syscall.ParseNetlinkMessage(s.in[:n])
	if err != nil {
		return fmt.Errorf("reading a netlink datagram of %d bytes: %w", n, err)
	}
	for _, m := range messages {
		fn(m)
	}
	return nil
}

func (s *socket) send(datagram []byte) error {
	var sendErr error
	err := s.raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return sendErr != unix.EAGAIN
	})
	return errors.Join(err, sendErr)
}

// exchange makes n requests, each of which the kernel answers with exactly one
// message, and calls answer for each with its number and either the message,
// which is empty for an acknowledgement, or the kernel's error number. The
// error returned is about the conversation as a whole.
func (s *socket) exchange(n int, request func(i int) *nl.NetlinkRequest, answer func(i int, m syscall.NetlinkMessage, err error)) error {
	for first := 0; first < n; first += pipelined {
		count := min(pipelined, n-first)
		base := s.seq + 1
		s.seq += uint32(count)
		s.out = s.out[:0]
		for i := range count {
			r := request(first + i)
			r.Seq = base + uint32(i)
			s.out = append(s.out, r.Serialize()...)
		}
		if err := s.send(s.out); err != nil {
			return fmt.Errorf("sending a netlink request: %w", err)
		}
		if err := s.file.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
			return err
		}
		for waiting := count; waiting > 0; {
			err := s.receive(func(m syscall.NetlinkMessage) {
				i := m.Header.Seq - base
				if i >= uint32(count) {
					return // the late answer to a request that was given up
				}
				waiting--
				if m.Header.Type == unix.NLMSG_ERROR {
					answer(first+int(i), syscall.NetlinkMessage{}, errorOf(m))
					return
				}
				answer(first+int(i), m, nil)
			})
			if err != nil {
				return fmt.Errorf("waiting for a netlink answer: %w", err)
			}
		}
	}
	return nil
}

// errInterrupted says that a table changed while it was dumped, so that the
// dump may lack entries.
var errInterrupted = errors.New("the table changed while it was read")

// dump requests a whole table and calls fn with each message. A dump that a
// change cut into is started again: fn must bear to see an entry twice, and
// restart is called before each attempt.
func (s *socket) dump(kind int, body nl.NetlinkRequestData, restart func(), fn func(syscall.NetlinkMessage)) error {
	const attempts = 10
	var err error
	for range attempts {
		restart()
		if err = s.dumpOnce(kind, body, fn); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}

func (s *socket) dumpOnce(kind int, body nl.NetlinkRequestData, fn func(syscall.NetlinkMessage)) error {
	s.seq++
	request := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
	request.Seq = s.seq
	request.AddData(body)
	if err := s.send(request.Serialize()); err != nil {
		return fmt.Errorf("requesting a netlink dump: %w", err)
	}
	if err := s.file.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	var done, interrupted bool
	var refused error
	for !done {
		err := s.receive(func(m syscall.NetlinkMessage) {
			if m.Header.Seq != request.Seq {
				return
			}
			interrupted = interrupted || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				done = true
			case unix.NLMSG_ERROR:
				done, refused = true, errorOf(m)
			default:
				fn(m)
			}
		})
		if err != nil {
			return fmt.Errorf("reading a netlink dump: %w", err)
		}
	}
	if interrupted && refused == nil {
		return errInterrupted
	}
	return refused
}

// errorOf returns the error number of an NLMSG_ERROR message, nil for 0.
func errorOf(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return unix.EBADMSG
	}
	if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
