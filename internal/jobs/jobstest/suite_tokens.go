package jobstest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
)

// Access is a database of tokens and the trail.
type Access interface {
	access.Tokens
	access.Trail
}

// TestTokens checks a database for what holders of tokens, and those who revoke them, are
// promised.
func TestTokens(t *testing.T, db Access) {
	t.Helper()
	ctx := t.Context()
	var made []access.Token
	for _, name := range []string{"b", "a", "b"} {
		tok, _, err := access.NewToken(access.Token{
			Name: name, Scopes: []access.Scope{access.Read}, Tenant: "blue", Created: time.Unix(1, 0).UTC(), Expires: time.Unix(2, 0).UTC(), By: "me",
		})
		if err == nil {
			err = db.AddToken(ctx, tok)
		}
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, tok)
	}
	if got, err := db.Token(ctx, made[1].ID); err != nil || !reflect.DeepEqual(got, made[1]) {
		t.Errorf("Token = %+v, %v; want %+v", got, err, made[1])
	}
	if _, err := db.Token(ctx, "none"); !errors.Is(err, access.ErrNoToken) {
		t.Errorf("Token(none): %v", err)
	}
	all, err := db.Tokens(ctx)
	if err != nil || len(all) != 3 || all[0].Name != "a" || all[1].ID > all[2].ID {
		t.Errorf("Tokens = %+v, %v", all, err)
	}
	if err := db.RevokeToken(ctx, made[0].ID); err != nil {
		t.Error(err)
	}
	if err := db.RevokeToken(ctx, made[0].ID); !errors.Is(err, access.ErrNoToken) {
		t.Errorf("the second time RevokeToken: %v", err)
	}
	if _, err := db.Token(ctx, made[0].ID); !errors.Is(err, access.ErrNoToken) {
		t.Errorf("a revoked token: %v", err)
	}
	for _, action := range []string{"first", "second", "third"} {
		if err := db.Record(ctx, access.Deed{By: "me", Action: action, Status: 200}); err != nil {
			t.Fatal(err)
		}
	}
	deeds, err := db.Deeds(ctx, 2)
	if err != nil || len(deeds) != 2 || deeds[0].Action != "third" || deeds[1].Action != "second" || deeds[0].At.IsZero() {
		t.Errorf("Deeds = %+v, %v", deeds, err)
	}
}
