package provenance_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/provenance"
)

// newKey makes a key that is the same each time.
func newKey(seed byte) (ed25519.PrivateKey, ed25519.PublicKey) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return key, key.Public().(ed25519.PublicKey)
}

// A document that is signed opens with its key, and with no other.
func TestSealed(t *testing.T) {
	t.Parallel()
	key, public := newKey(1)
	_, other := newKey(2)
	d, err := provenance.Seal(t.Context(), provenance.New(example()), key)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := provenance.Seal(t.Context(), provenance.New(example()), key); err != nil || !bytes.Equal(again.Content, d.Content) {
		t.Error("sealed again it is another document")
	}
	opened, err := d.Open(t.Context(), public)
	if err != nil {
		t.Fatal(err)
	}
	if !opened.Statement.Of(digest("a")) || opened.Statement.PredicateType != provenance.PredicateType {
		t.Errorf("opened: %+v", opened.Statement)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	if id := hex.EncodeToString(sum[:]); len(opened.KeyIDs) != 1 || opened.KeyIDs[0] != id {
		t.Errorf("key IDs %q, want %q", opened.KeyIDs, id)
	}
	if _, err := d.Open(t.Context(), nil); err != nil {
		t.Errorf("without a key: %v", err)
	}
	if _, err := d.Open(t.Context(), other); !errors.Is(err, provenance.ErrOtherKey) {
		t.Errorf("with another key: %v", err)
	}

	// The signature is what the specification says, without the library.
	var e struct {
		PayloadType, Payload string
		Signatures           []struct{ Sig string }
	}
	if err := json.Unmarshal(d.Content, &e); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
	if err != nil {
		t.Fatal(err)
	}
	signed := "DSSEv1 28 application/vnd.in-toto+json " + strconv.Itoa(len(payload)) + " " + string(payload)
	if !ed25519.Verify(public, []byte(signed), sig) {
		t.Error("the signature does not match")
	}
}

// What was changed, or is no document, does not open.
func TestNotOpened(t *testing.T) {
	t.Parallel()
	key, public := newKey(1)
	sealed, err := provenance.Seal(t.Context(), provenance.New(example()), key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := provenance.Seal(t.Context(), provenance.New(example()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if plain.MediaType != provenance.MediaTypeStatement || sealed.MediaType != provenance.MediaTypeEnvelope {
		t.Errorf("media types %s, %s", plain.MediaType, sealed.MediaType)
	}
	envelope := func(change func(e map[string]any)) provenance.Document {
		var e map[string]any
		if err := json.Unmarshal(sealed.Content, &e); err != nil {
			t.Fatal(err)
		}
		change(e)
		content, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return provenance.Document{MediaType: provenance.MediaTypeEnvelope, Content: content}
	}
	for _, tt := range []struct {
		name string
		d    provenance.Document
		want string
	}{
		{"not signed", plain, provenance.ErrUnsigned.Error()},
		{"no signature", envelope(func(e map[string]any) { e["signatures"] = []any{} }), provenance.ErrUnsigned.Error()},
		{"another statement", envelope(func(e map[string]any) { e["payload"] = base64.StdEncoding.EncodeToString(plain.Content[:10]) }), provenance.ErrOtherKey.Error()},
		{"another payload", envelope(func(e map[string]any) { e["payloadType"] = "text/plain" }), `the envelope holds "text/plain"`},
		{"no base64", envelope(func(e map[string]any) { e["payload"] = "%" }), "read the envelope"},
		{"no envelope", provenance.Document{MediaType: provenance.MediaTypeEnvelope, Content: []byte("[")}, "read the envelope"},
		{"another media type", provenance.Document{MediaType: "text/plain"}, "text/plain is no media type of a statement"},
	} {
		if _, err := tt.d.Open(t.Context(), public); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := (provenance.Document{MediaType: provenance.MediaTypeStatement, Content: []byte("[")}).Open(t.Context(), nil); err == nil {
		t.Error("a statement that is none opens")
	}
}

// A file that cannot be a key is refused with what to do.
func TestKeyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, kind string, der []byte, err error) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	key, public := newKey(1)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private := write("key", "PRIVATE KEY", der, err)
	publicDER, err := x509.MarshalPKIXPublicKey(public)
	half := write("half", "PUBLIC KEY", publicDER, err)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curveDER, err := x509.MarshalPKCS8PrivateKey(curve)
	ecFile := write("ec", "PRIVATE KEY", curveDER, err)
	ecPublicDER, err := x509.MarshalPKIXPublicKey(curve.Public())
	ecPublic := write("ecpub", "PUBLIC KEY", ecPublicDER, err)
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")

	if got, err := provenance.ReadKey(private); err != nil || !got.Equal(key) {
		t.Errorf("ReadKey = %v", err)
	}
	if got, err := provenance.ReadPublicKey(half); err != nil || !got.Equal(public) {
		t.Errorf("ReadPublicKey = %v", err)
	}
	readKey := func(file string) error { _, err := provenance.ReadKey(file); return err }
	readPublic := func(file string) error { _, err := provenance.ReadPublicKey(file); return err }
	for _, tt := range []struct {
		name string
		read func(string) error
		file string
		want string
	}{
		{"none", readKey, none, "no such file"},
		{"text", readKey, text, "is not a PEM file; make a key with: openssl genpkey"},
		{"the public half", readKey, half, "holds a PUBLIC KEY; want a PRIVATE KEY"},
		{"with a passphrase", readKey, write("locked", "ENCRYPTED PRIVATE KEY", der, nil), "has a passphrase"},
		{"cut", readKey, write("cut", "PRIVATE KEY", der[:20], nil), "is damaged"},
		{"another curve", readKey, ecFile, "is not an Ed25519 key"},
		{"no public key", readPublic, none, "no such file"},
		{"the private half", readPublic, private, "holds a PRIVATE KEY; want a PUBLIC KEY: make it of the private key"},
		{"a public key, cut", readPublic, write("cutpub", "PUBLIC KEY", publicDER[:9], nil), "is damaged"},
		{"a public key of another curve", readPublic, ecPublic, "is not an Ed25519 key"},
	} {
		if err := tt.read(tt.file); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// Documents come from registries.
func FuzzOpen(f *testing.F) {
	key, public := newKey(1)
	for _, k := range []ed25519.PrivateKey{nil, key} {
		d, err := provenance.Seal(f.Context(), provenance.New(example()), k)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(d.MediaType, d.Content)
	}
	f.Fuzz(func(t *testing.T, mediaType string, content []byte) {
		d := provenance.Document{MediaType: mediaType, Content: content}
		_, _ = d.Open(t.Context(), nil)
		if o, err := d.Open(t.Context(), public); err == nil && !o.Statement.Of(digest("a")) {
			t.Error("something else was signed") // with a key that only this test has
		}
	})
}
