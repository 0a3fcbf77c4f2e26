package provenance

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// The media types of documents. A statement that is not signed is attached as it is.
const (
	MediaTypeStatement = "application/vnd.in-toto+json"
	MediaTypeEnvelope  = "application/vnd.dsse.envelope.v1+json"
)

// AnnotationPredicate is the annotation that says what a document states, as BuildKit
// writes it.
const AnnotationPredicate = "in-toto.io/predicate-type"

// MaxDocument bounds what is read of a document, in bytes.
const MaxDocument = 4 << 20

// ErrUnsigned says that a document has no signature, where one was wanted.
var ErrUnsigned = errors.New("it is not signed")

// ErrOtherKey says that a document is signed, and not with the key.
var ErrOtherKey = errors.New("no signature of it is of this key")

// Document is a statement as it is attached to an image.
type Document struct {
	// MediaType is one of those above.
	MediaType string
	Content   []byte
}

// Seal makes a document of a statement: an envelope of https://github.com/secure-systems-lab/dsse
// that is signed with the key, or the statement itself where key is nil.
func Seal(ctx context.Context, s Statement, key ed25519.PrivateKey) (Document, error) {
	content, err := json.Marshal(s)
	if err != nil {
		return Document{}, fmt.Errorf("write the provenance: %w", err)
	}
	if key == nil {
		return Document{MediaTypeStatement, content}, nil
	}
	signer, err := dsse.NewEnvelopeSigner(signingKey{key})
	if err != nil {
		return Document{}, fmt.Errorf("sign the provenance: %w", err)
	}
	envelope, err := signer.SignPayload(ctx, MediaTypeStatement, content)
	if err != nil {
		return Document{}, fmt.Errorf("sign the provenance: %w", err)
	}
	if content, err = json.Marshal(envelope); err != nil {
		return Document{}, fmt.Errorf("write the provenance: %w", err)
	}
	return Document{MediaTypeEnvelope, content}, nil
}

// Opened is what is in a document.
type Opened struct {
	Statement Statement
	// Raw is the statement as it was written, with what this version does not know of.
	Raw json.RawMessage
	// KeyIDs are those that signatures name, which any program can write there.
	KeyIDs []string
}

// Open reads a document. With a key it fails unless that has signed it: with
// [ErrUnsigned] or [ErrOtherKey].
func (d Document) Open(ctx context.Context, key ed25519.PublicKey) (Opened, error) {
	var o Opened
	switch d.MediaType {
	case MediaTypeStatement:
		if key != nil {
			return o, ErrUnsigned
		}
		o.Raw = d.Content
	case MediaTypeEnvelope:
		if err := o.unwrap(ctx, d.Content, key); err != nil {
			return o, err
		}
	default:
		return o, fmt.Errorf("%s is no media type of a statement", d.MediaType)
	}
	if err := json.Unmarshal(o.Raw, &o.Statement); err != nil {
		return o, fmt.Errorf("read the statement: %w", err)
	}
	return o, nil
}

// unwrap reads an envelope.
func (o *Opened) unwrap(ctx context.Context, content []byte, key ed25519.PublicKey) error {
	var e dsse.Envelope
	if err := json.Unmarshal(content, &e); err != nil {
		return fmt.Errorf("read the envelope: %w", err)
	}
	if e.PayloadType != MediaTypeStatement {
		return fmt.Errorf("the envelope holds %q; want %s", e.PayloadType, MediaTypeStatement)
	}
	raw, err := e.DecodeB64Payload()
	if err != nil {
		return fmt.Errorf("read the envelope: %w", err)
	}
	o.Raw = raw
	for _, s := range e.Signatures {
		o.KeyIDs = append(o.KeyIDs, s.KeyID)
	}
	if key == nil {
		return nil
	}
	if len(e.Signatures) == 0 {
		return ErrUnsigned
	}
	verifier, err := dsse.NewEnvelopeVerifier(verifyingKey{key})
	if err != nil {
		return fmt.Errorf("verify the provenance: %w", err)
	}
	if _, err := verifier.Verify(ctx, &e); err != nil {
		return ErrOtherKey
	}
	return nil
}

// signingKey implements dsse.Signer.
type signingKey struct{ key ed25519.PrivateKey }

func (k signingKey) Sign(_ context.Context, data []byte) ([]byte, error) {
	return ed25519.Sign(k.key, data), nil
}

func (k signingKey) KeyID() (string, error) { return KeyID(k.key.Public().(ed25519.PublicKey)) }

// verifyingKey implements dsse.Verifier.
type verifyingKey struct{ key ed25519.PublicKey }

func (k verifyingKey) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(k.key, data, sig) {
		return errors.New("the signature does not match")
	}
	return nil
}

func (k verifyingKey) KeyID() (string, error)   { return KeyID(k.key) }
func (k verifyingKey) Public() crypto.PublicKey { return k.key }
