// Command sign asks the SSH agent of a build step for its keys, and each of them for a
// signature. It fails when there is none, or one does not fit.
package main

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh/agent"
)

func main() {
	if err := sign(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func sign() error {
	conn, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		return err
	}
	defer conn.Close()
	a := agent.NewClient(conn)
	keys, err := a.List()
	if err != nil || len(keys) == 0 {
		return fmt.Errorf("the agent has %d keys: %w", len(keys), err)
	}
	for _, k := range keys {
		sig, err := a.Sign(k, []byte("hello"))
		if err != nil {
			return fmt.Errorf("sign with %s: %w", k, err)
		}
		if err := k.Verify([]byte("hello"), sig); err != nil {
			return fmt.Errorf("a signature of %s: %w", k, err)
		}
		fmt.Println("signed by", k)
	}
	return nil
}
