package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Secure reports whether a URL asks for TLS.
func Secure(rawURL string) bool {
	t, err := parse(rawURL)
	return err == nil && t.tls() != nil
}

// Expiry is when the first of the certificates ends by which the two sides know each other: those
// that the first server that answers shows, and the client's.
func Expiry(ctx context.Context, rawURL string) (time.Time, error) {
	t, err := parse(rawURL)
	if err != nil {
		return time.Time{}, err
	}
	config := t.tls()
	if config == nil {
		return time.Time{}, errors.New("the connection to redis has no certificates: it is not over TLS")
	}
	var errs []error
	for _, address := range t.addresses() {
		certs, err := shown(ctx, config, address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if config.GetClientCertificate != nil {
			own, err := config.GetClientCertificate(nil)
			if err != nil {
				return time.Time{}, err
			}
			certs = append(certs, own.Leaf)
		}
		first := certs[0].NotAfter
		for _, c := range certs {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		return first, nil
	}
	return time.Time{}, errors.Join(errs...)
}

// shown are the certificates that a server shows, at least one.
func shown(ctx context.Context, config *tls.Config, address string) ([]*x509.Certificate, error) {
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("look at the certificate of %s: %w", address, err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates, nil // a tls.Dialer makes no other
}
