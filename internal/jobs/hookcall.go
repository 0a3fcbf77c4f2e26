package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"
)

var (
	// ErrNoCall: there is no such call, or the log is past it.
	ErrNoCall = errors.New("no such call")
	// ErrCallDue: the call has not ended, so it will be tried by itself.
	ErrCallDue = errors.New("the call has not ended")
)

const (
	// CallsKept is how many calls the log has, CallLogAge for how long.
	CallsKept  = 1000
	CallLogAge = 7 * 24 * time.Hour
	// CallsWaiting is how many calls may wait for one endpoint: one that does not answer
	// must not fill Redis.
	CallsWaiting = 10_000
)

// HookCall is an event that is brought to one endpoint: to a webhook of the farm, or where
// a job asked for. It is tried until it is accepted, for a day.
type HookCall struct {
	// ID is the same in each try, and the same when the end of the job is read twice, so
	// that a receiver can tell repetitions.
	ID string `json:"id"`
	// Hook is the name of the farm's webhook, "" for a call that the job asked for; URL and
	// Secrets are of that one then.
	Hook    string   `json:"hook,omitempty"`
	URL     string   `json:"url,omitempty"`
	Secrets []string `json:"secrets,omitempty"`
	// Type of the event, and the Job that it is about, "" for a test.
	Type string `json:"type"`
	Job  string `json:"job,omitempty"`
	// Event is the body; that of a test is made when it is tried.
	Event json.RawMessage `json:"event,omitempty"`
	// Test is a call that is tried once, and says nothing about the webhook.
	Test  bool      `json:"test,omitempty"`
	State CallState `json:"state"`
	// Made is when the call was made, First and Last are its first and last try, on Redis
	// time.
	Made  time.Time `json:"made,omitzero"`
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Next is when it is tried again, zero when it has ended or no try was made.
	Next  time.Time `json:"next,omitzero"`
	Tries int       `json:"tries,omitempty"`
	// Status is what the receiver answered last, 0 when it gave no answer, and Said one
	// printable line of the answer, or why there was none.
	Status int    `json:"status,omitempty"`
	Said   string `json:"said,omitempty"`

	// Taken is when the call was taken, on Redis time, and Until for how long no other
	// process takes it.
	Taken time.Time `json:"-"`
	Until time.Time `json:"-"`
}

// CallState is what has become of a call.
type CallState string

// The states of calls.
const (
	CallDue       CallState = "due"       // it is tried, or tried again
	CallDelivered CallState = "delivered" // the receiver accepted it
	CallGivenUp   CallState = "given_up"  // the receiver did not accept it for a day
	CallDropped   CallState = "dropped"   // its webhook was removed or disabled
)

// Endpoint is what calls are brought to side by side, and those of one job one after
// another: the webhook, or the host of the URL.
func (c HookCall) Endpoint() string {
	if c.Hook != "" {
		return "hook:" + c.Hook
	}
	host := ""
	if u, err := url.Parse(c.URL); err == nil {
		host = strings.ToLower(u.Host)
	}
	return "url:" + host
}

// Line is the part of its endpoint's calls in which the call keeps its place.
func (c HookCall) Line() string { return cmp.Or(c.Job, c.ID) }

// EventTest is the type of the event that tries a webhook out.
const EventTest = "slipway.webhook.test"

// NewTestCall makes a call that tries a webhook out. The farm makes its event.
func NewTestCall(hook, id string) HookCall {
	return HookCall{ID: id, Hook: hook, Type: EventTest, Test: true}
}

// Anew is the call as it was before its first try, made now.
func (c HookCall) Anew(now time.Time) HookCall {
	return HookCall{
		ID: c.ID, Hook: c.Hook, URL: c.URL, Secrets: c.Secrets, Type: c.Type, Job: c.Job, Event: c.Event, Test: c.Test,
		State: CallDue, Made: now,
	}
}

// HookCalls is the log of calls, those that are due among them. All methods are safe for
// concurrent use.
type HookCalls interface {
	// AddCalls makes calls due, in their order, but for those that are there already. It
	// returns how many were refused: CallsWaiting wait for their endpoint. Redis sets Made.
	AddCalls(ctx context.Context, calls ...HookCall) (refused int, err error)
	// Calls lists calls, those to which something happened last first, for one webhook when
	// hook is not "".
	Calls(ctx context.Context, hook string, limit int) ([]HookCall, error)
	// Call returns a call, or ErrNoCall.
	Call(ctx context.Context, id string) (HookCall, error)
	// Redeliver makes a call that has ended due again, as if it was never tried, or returns
	// ErrNoCall or ErrCallDue.
	Redeliver(ctx context.Context, id string) error
}

// DueCalls is what who makes calls and tries them needs of Redis. Calls of one job to one
// endpoint are due one after another. All methods are safe for concurrent use.
type DueCalls interface {
	// EndedCalls is AddCalls for the calls that a page of ended jobs leads to, and moves the
	// reader past the page as [Endings].Acknowledge does: both, or neither.
	EndedCalls(ctx context.Context, reader, nonce string, p EndedPage, calls ...HookCall) (mine bool, refused int, err error)
	// DueEndpoints lists up to limit endpoints that have calls due, the longest due first,
	// and tells in how long the next one has, 0 when that is not known.
	DueEndpoints(ctx context.Context, limit int) (due []string, next time.Duration, err error)
	// TakeCalls takes up to n due calls of an endpoint: they are due again when lease has
	// passed, unless KeepCall was called.
	TakeCalls(ctx context.Context, endpoint string, n int, lease time.Duration) ([]HookCall, error)
	// KeepCall records what a try has led to: in state CallDue the call is due again at
	// Next, else it has ended, and the next call of its job is due. false means that the
	// lease passed and another process has taken the call. For a webhook it returns how many
	// of its calls were given up in a row; tests do not count.
	KeepCall(ctx context.Context, c HookCall) (kept bool, givenUp int, err error)
	// CallTurn makes nonce the only one that calls, for ttl, or prolongs that.
	CallTurn(ctx context.Context, nonce string, ttl time.Duration) (bool, error)
}
