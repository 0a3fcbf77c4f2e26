package hosttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are an authority's, and two that it has signed, in files of PEM.
type Certificates struct {
	CA string
	// Server is for 127.0.0.1 and localhost.
	Server, ServerKey string
	Client, ClientKey string

	ca  *x509.Certificate
	key *ecdsa.PrivateKey
}

// MakeCertificates makes an authority that lasts as long as the test.
func MakeCertificates(t testing.TB) *Certificates {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	c := &Certificates{
		CA: at("ca.pem"), Server: at("server.pem"), ServerKey: at("server.key"), Client: at("client.pem"), ClientKey: at("client.key"),
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the test's authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	c.ca, c.key = ca, newKey(t, at("ca.key"))
	sign(t, c.CA, ca, ca, c.key, c.key)
	c.issue(t, 2, c.Server, c.ServerKey, ca.NotAfter)
	c.issue(t, 3, c.Client, c.ClientKey, ca.NotAfter)
	return c
}

// lifetime is that of certificates, far from any warning.
const lifetime = 100 * 24 * time.Hour

// RenewClient puts a certificate in the place of the client's that is good for so long.
func (c *Certificates) RenewClient(t testing.TB, d time.Duration) {
	t.Helper()
	c.issue(t, 4, c.Client, c.ClientKey, time.Now().Add(d))
}

func (c *Certificates) issue(t testing.TB, serial int64, cert, key string, until time.Time) {
	t.Helper()
	sign(t, cert, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: filepath.Base(cert)},
		NotBefore: c.ca.NotBefore, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}, c.ca, newKey(t, key), c.key)
}

func newKey(t testing.TB, file string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, file, "PRIVATE KEY", der)
	return key
}

func sign(t testing.TB, file string, cert, by *x509.Certificate, key, with *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, by, &key.PublicKey, with)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, file, "CERTIFICATE", der)
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
