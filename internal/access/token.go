package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Token is what the farm knows of a token. The text that its holder sends is
//
//	slipway_<id>_<secret>
//
// of which only a hash of the secret is kept.
type Token struct {
	// ID is by what it is found and revoked; it is no secret.
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	Scopes []Scope `json:"scopes"`
	Tenant string  `json:"tenant,omitempty"`
	// Created and Expires are on the clock of who made it; zero Expires means never.
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	// By is who made it.
	By string `json:"by,omitempty"`
	// Hash is the sha256 of the secret in hex. The secret is random and long, so that
	// nothing slower is of use.
	Hash string `json:"hash,omitempty"`
}

const (
	prefix = "slipway"
	idLen  = 10
)

// NewToken completes a token and returns it with its text, which is nowhere else.
func NewToken(t Token) (Token, string, error) {
	if err := t.check(); err != nil {
		return Token{}, "", err
	}
	t.ID = strings.ToLower(rand.Text())[:idLen]
	secret := rand.Text() + rand.Text()[:6] // 160 bits
	t.Hash = hash(secret)
	return t, strings.Join([]string{prefix, t.ID, secret}, "_"), nil
}

func (t Token) check() error {
	if err := checkName(t.Name); err != nil {
		return err
	}
	if len(t.Scopes) == 0 {
		return fmt.Errorf("want at least one scope: %s", jobs.Either(Scopes()))
	}
	known := Scopes()
	if t.Tenant != "" {
		known = ForTenant()
		if !jobs.IsName(t.Tenant) {
			return fmt.Errorf("tenant %q: want lower-case letters, digits and . _ -, at most 64", jobs.Clip(t.Tenant))
		}
	}
	for _, s := range t.Scopes {
		switch {
		case slices.Contains(known, s):
		case slices.Contains(Scopes(), s):
			return fmt.Errorf("scope %q: a token of a tenant has %s; hosts, queues and tokens are of the whole farm", s, jobs.Either(known))
		default:
			return fmt.Errorf("unknown scope %q: want %s", jobs.Clip(string(s)), jobs.Either(known))
		}
	}
	return nil
}

// Split reads the text of a token.
func Split(text string) (id, secret string, err error) {
	parts := strings.Split(text, "_")
	if len(parts) != 3 || parts[0] != prefix || len(parts[1]) != idLen || parts[2] == "" {
		return "", "", errors.New("not the text of a token: want slipway_ID_SECRET")
	}
	return parts[1], parts[2], nil
}

// Matches reports whether the secret is the token's. How long that takes tells nothing.
func (t Token) Matches(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(hash(secret)), []byte(t.Hash)) == 1
}

// Expired reports whether the token has come to its end.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Principal is who sends the token.
func (t Token) Principal() Principal {
	return Principal{Name: t.Name, Token: t.ID, Scopes: t.Scopes, Tenant: t.Tenant}
}

// ShownToken is a token as programs get it, without what is kept of its secret.
type ShownToken struct {
	Token
	Hash    string `json:"hash,omitempty"` // hides that of the token, and is never set
	Expired bool   `json:"expired,omitempty"`
	// Text is what its holder sends. It is in the answer to its making, and nowhere else.
	Text string `json:"text,omitempty"`
}

// Shown is a token for programs; text is "" but for one that was just made.
func Shown(t Token, text string) ShownToken {
	t.Hash = ""
	return ShownToken{Token: t, Expired: t.Expired(time.Now()), Text: text}
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
