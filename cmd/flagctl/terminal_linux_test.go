package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"unsafe"
)

func init() { programs["terminal"] = terminalMain }

// terminalMain is the program "terminal COLUMNS PROGRAM [ARGUMENT...]": it runs
// a program on a terminal of that width, writes what the terminal got to its
// standard output, and ends with the program's exit code.
func terminalMain() {
	columns, err := strconv.ParseUint(os.Args[1], 10, 16)
	if err != nil {
		panic(err)
	}
	screen, code, err := onTerminal(uint16(columns), os.Args[2], os.Args[3:]...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	_, _ = os.Stdout.Write(bytes.ReplaceAll(screen, []byte("\r\n"), []byte("\n")))
	os.Exit(code)
}

// onTerminal runs a program on a pseudo-terminal. testscript has one too, but
// loses the end of what is written.
func onTerminal(columns uint16, name string, args ...string) (screen []byte, code int, err error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = master.Close() }()
	var number, locked uint32
	size := [4]uint16{24, columns}
	for request, at := range map[uintptr]unsafe.Pointer{
		syscall.TIOCGPTN: unsafe.Pointer(&number), syscall.TIOCSPTLCK: unsafe.Pointer(&locked), syscall.TIOCSWINSZ: unsafe.Pointer(&size),
	} {
		if _, _, failed := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(at)); failed != 0 {
			return nil, 0, failed
		}
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, err
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	err = cmd.Start()
	_ = slave.Close() // the program's own is the last: its end is the end of the output
	if err != nil {
		return nil, 0, err
	}
	screen, err = io.ReadAll(master)
	if err != nil && !errors.Is(err, syscall.EIO) {
		return nil, 0, err
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return nil, 0, err
	}
	return screen, cmd.ProcessState.ExitCode(), nil
}
