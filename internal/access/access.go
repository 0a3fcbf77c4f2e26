// Package access says who may do what over the HTTP API: tokens with scopes, and the
// trail of what was done with them. The database keeps both; package api asks it.
package access

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// ErrNoToken is returned, wrapped, for a token that does not exist.
var ErrNoToken = errors.New("no such token")

// Scope is a kind of requests.
type Scope string

// The scopes.
const (
	Submit  Scope = "submit"  // submit jobs, cancel them and try them again
	Read    Scope = "read"    // jobs, their logs and outputs
	Operate Scope = "operate" // hosts, queues, recipes and rebuilds
	Admin   Scope = "admin"   // tokens, and everything else
)

// Scopes lists every scope.
func Scopes() []Scope { return []Scope{Submit, Read, Operate, Admin} }

// ForTenant lists those that a token of a tenant may have: hosts and queues are of the
// whole farm.
func ForTenant() []Scope { return []Scope{Submit, Read} }

// Principal is who sends a request.
type Principal struct {
	// Name is for people: it becomes the submitter of jobs.
	Name string `json:"name"`
	// Token is the ID of the token, "" where none was asked for.
	Token  string  `json:"token,omitempty"`
	Scopes []Scope `json:"scopes"`
	// Tenant whose jobs these are, "" for those of all.
	Tenant string `json:"tenant,omitempty"`
}

// May reports whether the principal has a scope.
func (p Principal) May(s Scope) bool {
	return slices.Contains(p.Scopes, s) || slices.Contains(p.Scopes, Admin)
}

// Sees reports whether a job of this tenant exists for the principal.
func (p Principal) Sees(tenant string) bool { return p.Tenant == "" || p.Tenant == tenant }

// Tokens is where tokens are kept.
type Tokens interface {
	AddToken(ctx context.Context, t Token) error
	// Token returns a token, or ErrNoToken.
	Token(ctx context.Context, id string) (Token, error)
	// Tokens lists all of them by Name and ID, also those that have expired.
	Tokens(ctx context.Context) ([]Token, error)
	// RevokeToken removes a token, or returns ErrNoToken.
	RevokeToken(ctx context.Context, id string) error
}

// Deed is an entry of the trail: what a principal changed, or was refused to.
type Deed struct {
	// At is Redis time; the database sets it.
	At time.Time `json:"at"`
	// By is the principal's name, Token the ID of its token.
	By     string `json:"by"`
	Token  string `json:"token,omitempty"`
	Tenant string `json:"tenant,omitempty"`
	// From is the address that the request came from.
	From string `json:"from,omitempty"`
	// Action is method and path of the request, as in "POST /v1/jobs".
	Action string `json:"action"`
	// Status is that of the answer.
	Status int `json:"status"`
}

// Trail is the record of what was done, bounded to the newest [TrailKept].
type Trail interface {
	Record(ctx context.Context, d Deed) error
	// Deeds lists the newest first, at most limit.
	Deeds(ctx context.Context, limit int) ([]Deed, error)
}

// TrailKept is how many entries the trail has at least.
const TrailKept = 10_000

// checkName makes one printable line of a token's name.
func checkName(name string) error {
	if name == "" || len(name) > 64 || jobs.Line(name, 64) != name {
		return errors.New("want a name of one printable line, at most 64 bytes")
	}
	return nil
}
