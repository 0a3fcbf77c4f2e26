package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
)

// files is what a URL says of files, and about TLS beyond its scheme.
type files struct{ password, ca, cert, key, name string }

// takeFiles takes what the library does not know out of a URL.
func takeFiles(u *url.URL) (f files, err error) {
	query := u.Query()
	for name, value := range map[string]*string{"password_file": &f.password, "ca": &f.ca, "cert": &f.cert, "key": &f.key, "server_name": &f.name} {
		if !query.Has(name) {
			continue
		}
		if *value = query.Get(name); *value == "" || len(query[name]) > 1 {
			return f, fmt.Errorf("give %s= once, and with a value", name)
		}
		query.Del(name)
	}
	if f == (files{}) {
		return f, nil
	}
	u.RawQuery = query.Encode()
	tls := f
	tls.password = ""
	switch {
	case tls != (files{}) && u.Scheme != "rediss":
		return f, errors.New("ca=, cert=, key= and server_name= are for TLS: write rediss instead of redis")
	case f.key == "" && f.cert != "":
		return f, errors.New("cert= needs the key= of the certificate")
	case f.cert == "" && f.key != "":
		return f, errors.New("key= needs the cert= that it belongs to")
	}
	return f, nil
}

// tls are the TLS settings of a target, nil when it has none.
func (t target) tls() *tls.Config {
	switch {
	case t.sentinels != nil:
		return t.sentinels.TLSConfig
	case t.cluster != nil:
		return t.cluster.TLSConfig
	}
	return t.server.TLSConfig
}

// secure completes the TLS settings of a target that has some.
func (t target) secure(f files) error {
	c := t.tls()
	if c == nil {
		return nil
	}
	c.MinVersion = tls.VersionTLS12
	// The library fills in the first host of the URL, for sentinels and servers alike.
	// Without a name each is checked for its own address.
	c.ServerName = f.name
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return fmt.Errorf("read ca=: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca=%s has no certificate in PEM format", f.ca)
		}
	}
	if f.cert == "" {
		return nil
	}
	pair := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("cert=%s with key=%s: %w", f.cert, f.key, err)
		}
		return &pair, nil
	}
	// Read anew for each connection: certificates are renewed while a worker runs.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair() }
	_, err := pair()
	return err
}
