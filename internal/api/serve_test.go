package api

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Where strangers could read along or in, the server does not listen.
func TestListen(t *testing.T) {
	t.Parallel()
	const (
		fine    = ""
		exposed = "exposed"
		wrong   = "wrong"
	)
	for _, tt := range []struct {
		address string
		// With tokens, in the clear and with TLS; without tokens; and where the operator insists.
		plain, tls, open, tlsOpen, insecure string
	}{
		{"127.0.0.1:0", fine, fine, fine, fine, fine},
		{"127.9.9.9:0", fine, fine, fine, fine, fine},
		{"[::1]:0", fine, fine, fine, fine, fine},
		{"[::ffff:127.0.0.1]:0", fine, fine, fine, fine, fine},
		{"localhost:0", fine, fine, fine, fine, fine},
		{"0.0.0.0:0", exposed, fine, exposed, exposed, fine},
		{"[::]:0", exposed, fine, exposed, exposed, fine},
		{":8470", exposed, fine, exposed, exposed, fine},
		{"10.0.0.1:8470", exposed, fine, exposed, exposed, fine},
		{"[::ffff:10.0.0.1]:8470", exposed, fine, exposed, exposed, fine},
		{"[fe80::1%eth0]:8470", exposed, fine, exposed, exposed, fine},
		{"farm.example:8470", exposed, fine, exposed, exposed, fine},
		{"localhost.example:8470", exposed, fine, exposed, exposed, fine},
		{"localhost.:8470", exposed, fine, exposed, exposed, fine},
		{"127.1:8470", exposed, fine, exposed, exposed, fine},
		{"0177.0.0.1:8470", exposed, fine, exposed, exposed, fine},
		{"127.0.0.1", wrong, wrong, wrong, wrong, wrong},
		{"", wrong, wrong, wrong, wrong, wrong},
	} {
		with := func(l Listen) Listen { l.CertFile, l.KeyFile = "c", "k"; return l }
		l := Listen{Address: tt.address}
		insecure := Listen{Address: tt.address, Insecure: true}
		for name, c := range map[string]struct {
			err  error
			want string
		}{
			"tokens": {l.check(false), tt.plain}, "tokens and TLS": {with(l).check(false), tt.tls}, "open": {l.check(true), tt.open},
			"open with TLS": {with(l).check(true), tt.tlsOpen}, "insecure": {insecure.check(false), tt.insecure}, "open, insecure": {insecure.check(true), tt.insecure},
		} {
			got := fine
			switch {
			case errors.Is(c.err, ErrExposed):
				got = exposed
			case c.err != nil:
				got = wrong
			}
			if got != c.want {
				t.Errorf("%s, %s: %v, want %q", tt.address, name, c.err, c.want)
			}
		}
	}
	for _, l := range []Listen{{Address: "127.0.0.1:0", CertFile: "c"}, {Address: "127.0.0.1:0", KeyFile: "k", Insecure: true}} {
		if err := l.check(false); err == nil {
			t.Errorf("%+v is taken", l)
		}
	}
}

// serve runs the real listener until the test ends, and returns its URL.
func (f *farm) serve(l Listen) string {
	f.t.Helper()
	ctx, end := context.WithCancel(f.t.Context())
	up, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- f.server.Serve(ctx, l, func(url string) { up <- url }) }()
	f.t.Cleanup(func() {
		end()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	select {
	case url := <-up:
		return url
	case err := <-done:
		done <- err
		f.t.Fatal(err)
	}
	return ""
}

// raw sends bytes to the listener, and returns the status of the answer, 0 for none.
func raw(t *testing.T, url, text string) int {
	t.Helper()
	_, address, _ := strings.Cut(url, "://")
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, text) // it may be refused before its end
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// The listener takes no header that is too large or does not come, and no body that drips.
func TestSlowAndLarge(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Patience = time.Second })
	url := f.serve(Listen{Address: "127.0.0.1:0"})
	if got := raw(t, url, "GET /livez HTTP/1.1\r\nHost: x\r\nA: "+strings.Repeat("a", 70<<10)+"\r\n\r\n"); got != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 70 KiB: %d", got)
	}
	if got := raw(t, url, "GET /"+strings.Repeat("a", 70<<10)+" HTTP/1.1\r\nHost: x\r\n\r\n"); got != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a path of 70 KiB: %d", got)
	}
	if got := raw(t, url, "GET /"+strings.Repeat("a", 50<<10)+" HTTP/1.1\r\nHost: x\r\n\r\n"); got != http.StatusNotFound {
		t.Errorf("a path of 50 KiB: %d", got)
	}
	large := "{\"name\":\"" + strings.Repeat("a", 1<<20) + "\"}"
	head := "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + f.tokens["submitter"] + "\r\nContent-Length: "
	if got := raw(t, url, head+fmt.Sprint(len(large))+"\r\n\r\n"+large); got != http.StatusRequestEntityTooLarge && got != 0 {
		t.Errorf("a document of 1 MiB: %d", got)
	}
	start := time.Now()
	if got := raw(t, url, head+"1000\r\n\r\n{"); got != http.StatusRequestTimeout {
		t.Errorf("a body that stands still: %d", got)
	}
	if took := time.Since(start); took > 25*time.Second {
		t.Errorf("what stands still was waited for for %s", took)
	}
	f.drips(url)
}

// drips sends a body a byte at a time, more often than the patience is long.
func (f *farm) drips(url string) {
	_, address, _ := strings.Cut(url, "://")
	c, err := (&net.Dialer{}).DialContext(f.t.Context(), "tcp", address)
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/contexts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100000\r\n\r\n", f.tokens["submitter"])
	answered := make(chan int, 1)
	go func() {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			answered <- 0
			return
		}
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until := time.After(20 * time.Second); ; {
		select {
		case <-tick.C:
			_, _ = c.Write([]byte("x")) // the answer tells
		case got := <-answered:
			if got != http.StatusRequestTimeout {
				f.t.Errorf("a body that drips: %d", got)
			}
			return
		case <-until:
			f.t.Error("a body that drips is waited for for ever")
			return
		}
	}
}

// certificate writes one for 127.0.0.1 with this serial number.
func certificate(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	at := time.Now().Add(time.Duration(serial) * time.Second) // a renewal is another time
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// With a certificate the listener speaks TLS 1.2 and later, and nothing in the clear.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	cert, key := certificate(t, t.TempDir(), 1)
	url := f.serve(Listen{Address: "127.0.0.1:0", CertFile: cert, KeyFile: key})
	if got := raw(t, url, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); got != http.StatusBadRequest {
		t.Errorf("plain HTTP: %d", got)
	}
	_, address, _ := strings.Cut(url, "://")
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		d := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}}
		c, err := d.DialContext(t.Context(), "tcp", address)
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
	for _, l := range []Listen{{CertFile: "/none", KeyFile: key}, {CertFile: cert, KeyFile: cert}} {
		l.Address = "127.0.0.1:0"
		if err := f.server.Serve(t.Context(), l, func(string) {}); err == nil {
			t.Errorf("%+v is served", l)
		}
	}
}

// A certificate that was renewed is taken up; while one cannot be read, the one before is used.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := certificate(t, dir, 1)
	c := &certificates{cert: cert, key: key}
	serial := func() int64 {
		t.Helper()
		c.looked = time.Time{} // it is time to look again
		got, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Fatalf("the certificate is number %d", got)
	}
	certificate(t, dir, 2)
	if got := serial(); got != 2 {
		t.Errorf("after the renewal it is number %d", got)
	}
	other, _ := certificate(t, t.TempDir(), 3) // of another key: its own is not there yet
	raw, err := os.ReadFile(other)
	if err == nil {
		err = os.WriteFile(cert, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("between certificate and key it is number %d", got)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("without a file it is number %d", got)
	}
	certificate(t, dir, 4)
	if got := serial(); got != 4 {
		t.Errorf("after the next renewal it is number %d", got)
	}
}
