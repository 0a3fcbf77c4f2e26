package access

import (
	"strings"
	"testing"
	"time"
)

// The text of a token leads to it, and nothing that is kept leads to the text.
func TestToken(t *testing.T) {
	t.Parallel()
	tok, text, err := NewToken(Token{Name: "ci", Scopes: []Scope{Submit, Read}, Tenant: "blue"})
	if err != nil {
		t.Fatal(err)
	}
	id, secret, err := Split(text)
	if err != nil || id != tok.ID {
		t.Fatalf("Split(%q) = %q, %v; want %q", text, id, err, tok.ID)
	}
	if !tok.Matches(secret) || tok.Matches(secret+"x") || tok.Matches("") || strings.Contains(tok.Hash, secret) {
		t.Error("the secret does not tell tokens apart")
	}
	other, text2, _ := NewToken(Token{Name: "ci", Scopes: []Scope{Submit}})
	if other.ID == tok.ID || text2 == text || other.Matches(secret) {
		t.Error("two tokens are alike")
	}
	now := time.Now()
	tok.Expires = now
	if !tok.Expired(now) || tok.Expired(now.Add(-time.Second)) || other.Expired(now) {
		t.Error("a token expires at another time")
	}
}

func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "slipway", "slipway__", "slipway_abcdefghij_", "slipway_short_x", "other_abcdefghij_x", "slipway_abcdefghij_x_y"} {
		if id, _, err := Split(text); err == nil {
			t.Errorf("Split(%q) = %q; want an error", text, id)
		}
	}
}

func TestNewTokenRefuses(t *testing.T) {
	t.Parallel()
	for want, tok := range map[string]Token{
		"want a name":                           {Scopes: []Scope{Read}},
		"want a name of one printable":          {Name: "a\nb", Scopes: []Scope{Read}},
		"at least one scope":                    {Name: "a"},
		`unknown scope "write"`:                 {Name: "a", Scopes: []Scope{"write"}},
		`tenant "Blue"`:                         {Name: "a", Scopes: []Scope{Read}, Tenant: "Blue"},
		`scope "operate": a token of a tenant`:  {Name: "a", Scopes: []Scope{Read, Operate}, Tenant: "blue"},
		`scope "admin": a token of a tenant ha`: {Name: "a", Scopes: []Scope{Admin}, Tenant: "blue"},
	} {
		if _, text, err := NewToken(tok); err == nil || !strings.Contains(err.Error(), want) || text != "" {
			t.Errorf("NewToken(%+v): %v; want an error with %q", tok, err, want)
		}
	}
}

func TestPrincipal(t *testing.T) {
	t.Parallel()
	reader, admin := Principal{Scopes: []Scope{Read}, Tenant: "blue"}, Principal{Scopes: []Scope{Admin}}
	if !reader.May(Read) || reader.May(Submit) || reader.May(Admin) || !admin.May(Operate) || (Principal{}).May(Read) {
		t.Error("scopes do not tell who may do what")
	}
	if !reader.Sees("blue") || reader.Sees("green") || reader.Sees("") || !admin.Sees("green") || !admin.Sees("") {
		t.Error("tenants do not tell who sees what")
	}
}
