package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// What is read ahead is what came, and its error comes behind it.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	content := make([]byte, 3*aheadPieces*aheadSize+17)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	boom := errors.New("boom")
	for name, tt := range map[string]struct {
		r    io.Reader
		want []byte
		err  error
	}{
		"much":          {bytes.NewReader(content), content, nil},
		"nothing":       {strings.NewReader(""), nil, nil},
		"byte by byte":  {iotest.OneByteReader(bytes.NewReader(content[:1000])), content[:1000], nil},
		"end with data": {iotest.DataErrReader(bytes.NewReader(content)), content, nil},
		"breaks off":    {io.MultiReader(bytes.NewReader(content[:aheadSize+1]), iotest.ErrReader(boom)), content[:aheadSize+1], boom},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := readAhead(tt.r)
			got, err := io.ReadAll(a)
			if !errors.Is(err, tt.err) || !bytes.Equal(got, tt.want) {
				t.Errorf("read %d bytes, %v; want %d, %v", len(got), err, len(tt.want), tt.err)
			}
			if n, err := a.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("behind the end: %d, %v", n, err)
			}
			a.stop(func() {})
		})
	}
}

// Memory has an end, whatever comes, and so has the goroutine when its pieces are not wanted.
func TestReadAheadWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		a := readAhead(readerOf(func(p []byte) (int, error) {
			reads++
			return len(p), nil
		}))
		synctest.Wait()
		if reads != aheadPieces {
			t.Errorf("%d pieces were read of which none was wanted, want %d", reads, aheadPieces)
		}
		a.stop(func() {})
	})
}

// A reader that panics ends its request, and not the server.
func TestReadAheadPanics(t *testing.T) {
	t.Parallel()
	a := readAhead(readerOf(func([]byte) (int, error) { panic("boom") }))
	defer a.stop(func() {})
	if _, err := io.ReadAll(a); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("read: %v", err)
	}
}

type readerOf func([]byte) (int, error)

func (f readerOf) Read(p []byte) (int, error) { return f(p) }

// What is refused is refused for that, though the client has to send most of it yet and is
// silent. Nothing comes behind it on that connection.
func TestRefusedBeforeItHasCome(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Patience = 3 * time.Second })
	for _, path := range []string{"/v1/contexts", "/v1/build?run"} {
		c := f.dial()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			path, f.tokens["submitter"], 10<<20, strings.Repeat("this is no tar\n", 1000))
		from := bufio.NewReader(c)
		resp, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusUnprocessableEntity || !resp.Close || err != nil || !bytes.Contains(body, []byte("context_")) {
			t.Errorf("%s: %s, close %v, %v\n%s", path, resp.Status, resp.Close, err, body)
		}
		if _, err := from.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the connection goes on: %v", path, err)
		}
	}
}

// A context that has come leaves the connection as it was.
func TestConnectionOutlastsAContext(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	c := f.dial()
	from := bufio.NewReader(c)
	for range 3 {
		tar := hello(t)
		fmt.Fprintf(c, "POST /v1/contexts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", f.tokens["submitter"], tar.Len(), tar)
		resp, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode/100 != 2 || resp.Close || err != nil {
			t.Fatalf("%s, close %v, %v\n%s", resp.Status, resp.Close, err, body)
		}
	}
}
