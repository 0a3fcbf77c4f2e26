package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// authenticate has a target take the password of its servers from a file, "" for none. It is
// read anew for each connection: passwords are changed while a worker runs.
func (t target) authenticate(file string) error {
	if file == "" {
		return nil
	}
	var user, password string
	var provide *func(ctx context.Context) (user, password string, err error)
	switch {
	case t.sentinels != nil:
		user, password, provide = t.sentinels.Username, t.sentinels.Password, &t.sentinels.CredentialsProviderContext
	case t.cluster != nil:
		user, password, provide = t.cluster.Username, t.cluster.Password, &t.cluster.CredentialsProviderContext
	default:
		user, password, provide = t.server.Username, t.server.Password, &t.server.CredentialsProviderContext
	}
	if password != "" {
		return errors.New("it has a password and password_file=; leave one of them out")
	}
	*provide = func(context.Context) (string, string, error) {
		password, err := readPassword(file)
		return user, password, err
	}
	_, err := readPassword(file)
	return err
}

func readPassword(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read password_file=: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" || strings.ContainsAny(password, "\r\n") {
		return "", fmt.Errorf("password_file=%s has to have one line, the password", file)
	}
	return password, nil
}
