package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Listen says where and how a Server is reached.
type Listen struct {
	// Address is HOST:PORT.
	Address string
	// CertFile and KeyFile are the certificate for TLS, "" for none. They are read again
	// when they change.
	CertFile, KeyFile string
	// Insecure allows what lets strangers on the network read along or in.
	Insecure bool
	// Handler answers in place of the Server, to which it hands on what it does not
	// answer itself; nil for the Server alone.
	Handler http.Handler
}

// ErrExposed is returned for an address that others than this machine can reach without TLS,
// or without tokens.
var ErrExposed = errors.New("the address can be reached from other machines")

// check refuses to listen where strangers could read along or in.
func (l Listen) check(open bool) error {
	host, _, err := net.SplitHostPort(l.Address)
	switch {
	case err != nil:
		return fmt.Errorf("want HOST:PORT: %w", err)
	case (l.CertFile == "") != (l.KeyFile == ""):
		return errors.New("a certificate goes with its key")
	case l.Insecure || isLoopback(host):
		return nil
	case open:
		return fmt.Errorf("%w, and no token is asked for", ErrExposed)
	case l.CertFile == "":
		return fmt.Errorf("%w, and tokens would travel without TLS", ErrExposed)
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// lastRequests is how long requests may take when the server ends.
const lastRequests = 10 * time.Second

// Serve answers requests until ctx ends, and then those that have come. up is told the URL
// once the server listens.
func (s *Server) Serve(ctx context.Context, l Listen, up func(url string)) error {
	if err := l.check(s.Open); err != nil {
		return err
	}
	if err := s.parts.open(); err != nil {
		return err
	}
	scheme := "http"
	var secure *tls.Config
	if l.CertFile != "" {
		certs := &certificates{cert: l.CertFile, key: l.KeyFile}
		if _, err := certs.get(nil); err != nil {
			return err
		}
		scheme, secure = "https", &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.get}
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", l.Address, err)
	}
	var handler http.Handler = s
	if l.Handler != nil {
		handler = l.Handler
	}
	server := &http.Server{
		Handler: handler, TLSConfig: secure, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	failed := make(chan error, 1)
	go func() {
		if secure != nil {
			failed <- server.ServeTLS(ln, "", "")
			return
		}
		failed <- server.Serve(ln)
	}()
	up(scheme + "://" + ln.Addr().String())
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", l.Address, err)
	case <-ctx.Done():
	}
	s.Close() // followers come again, to another server or to this one's successor
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRequests)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close() // what takes longer is cut off
	}
	<-failed
	return nil
}

// certificates is a certificate that may be renewed while the server runs.
type certificates struct {
	cert, key string

	mu       sync.Mutex
	have     *tls.Certificate
	modified time.Time
	looked   time.Time
}

// lookAgain is how often it is looked whether the certificate was renewed.
const lookAgain = 10 * time.Second

// get returns the certificate. One that cannot be read is no reason to give up the one before.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.have != nil && time.Since(c.looked) < lookAgain {
		return c.have, nil
	}
	c.looked = time.Now()
	info, err := os.Stat(c.cert)
	if err == nil && c.have != nil && info.ModTime().Equal(c.modified) {
		return c.have, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(c.cert, c.key)
	}
	if err != nil {
		if c.have != nil {
			return c.have, nil
		}
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	c.have, c.modified = &pair, info.ModTime()
	return c.have, nil
}
