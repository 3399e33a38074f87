// SPDX-License-Identifier: Apache-2.0

// Names the session of a connection, in Go: net.Dialer's Control runs between socket() and connect().
//
//	go run hint.go http://10.96.0.10:8000/v1/models user-4711
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
)

const (
	hintLevel   = 0x5054 // pintle/hint.h
	hintSession = 1
)

// dialer makes connections for one session. If nothing takes hints here, it still makes them.
func dialer(session string) *net.Dialer {
	d := &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var hint error
		err := c.Control(func(fd uintptr) {
			hint = syscall.SetsockoptString(int(fd), hintLevel, hintSession, session)
		})
		if err == nil && !errors.Is(hint, syscall.ENOPROTOOPT) {
			err = hint
		}
		return err
	}}
	// On MPTCP a hint has no effect. Go has had MPTCP since 1.21.
	if m, ok := any(d).(interface{ SetMultipathTCP(bool) }); ok {
		m.SetMultipathTCP(false)
	}
	return d
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: hint URL SESSION")
		os.Exit(2)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dialer(os.Args[2]).DialContext}}
	answer, err := client.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer answer.Body.Close()
	fmt.Println(os.Args[2], answer.Header.Get("x-inference-pod"))
	io.Copy(io.Discard, answer.Body)
}
