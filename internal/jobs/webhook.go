package jobs

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Errors about webhooks and calls, wrapped; callers use errors.Is.
var (
	// ErrNoWebhook: there is no webhook of that name.
	ErrNoWebhook = errors.New("no such webhook")
	// ErrWebhookExists: a webhook of that name is there already.
	ErrWebhookExists = errors.New("there is such a webhook already")
	// ErrManyWebhooks: the farm has [MaxWebhooks].
	ErrManyWebhooks = fmt.Errorf("a farm has at most %d webhooks", MaxWebhooks)
)

const (
	// MaxWebhooks bounds how many calls the end of one job can lead to.
	MaxWebhooks = 64
	maxHookList = 16
	maxHookURL  = 2048
	// MaxHookSecrets is how many secrets sign a call: while one takes the place of another,
	// a receiver may know either.
	MaxHookSecrets = 4
)

// Webhook is an address outside the farm that hears of jobs that have ended.
type Webhook struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Secrets are the workers' names of what the calls are signed with; without any they
	// are not signed. The values are never in Redis.
	Secrets []string `json:"secrets,omitempty"`
	// Only says which jobs it hears of.
	Only HookFilter `json:"only,omitzero"`
	// Created is on Redis time, By is who added it.
	Created time.Time `json:"created,omitzero"`
	By      string    `json:"by,omitempty"`
	// Disabled is a sentence that says why the farm does not call it any more, "" while it
	// does, and DisabledAt since when.
	Disabled   string    `json:"disabled,omitempty"`
	DisabledAt time.Time `json:"disabled_at,omitzero"`
	// Damaged says why it cannot be read, "" when it can. Name is right all the same.
	Damaged string `json:"damaged,omitempty"`
}

// HookFilter selects ended jobs. An empty list, or no labels, lets all through.
type HookFilter struct {
	States []State `json:"states,omitempty"`
	// Names are of recipes, with * for any characters.
	Names []string `json:"names,omitempty"`
	// Labels that a job must have, all of them.
	Labels  map[string]string `json:"labels,omitempty"`
	Tenants []string          `json:"tenants,omitempty"`
	// Faults lets only failures through for which one of these has to do something.
	Faults []Fault  `json:"faults,omitempty"`
	Queues []string `json:"queues,omitempty"`
}

// Takes reports whether the filter lets an ended job through. A job whose record is gone
// or cannot be read has nothing but its state.
func (f HookFilter) Takes(e EndedJob) bool {
	var spec Spec
	var fault Fault
	if e.Job != nil {
		spec = e.Job.Spec
		if r := e.Job.Result; r != nil && r.Failure != nil {
			fault = r.Failure.Kind.Info().Fault
		}
	}
	for key, value := range f.Labels {
		if have, ok := spec.Labels[key]; !ok || have != value {
			return false
		}
	}
	return oneOf(f.States, e.State) && oneOf(f.Tenants, spec.Tenant) && oneOf(f.Faults, fault) && oneOf(f.Queues, spec.Queue) &&
		(len(f.Names) == 0 || slices.ContainsFunc(f.Names, func(p string) bool { return spec.Name != "" && Wildcard(p, spec.Name) }))
}

// oneOf reports whether a list that selects has a value.
func oneOf[T comparable](list []T, v T) bool { return len(list) == 0 || slices.Contains(list, v) }

// Validate reports everything wrong with the webhook, as a [*Invalid].
func (w Webhook) Validate() error {
	var p problems
	if w.Name == "" {
		p.add("name_invalid", "/name", "the name is missing")
	}
	p.match(namePattern, "name_invalid", "/name", w.Name, "lower-case letters, digits and . _ -, at most 64")
	p.hookURL("/url", w.URL)
	if len(w.Secrets) > MaxHookSecrets {
		p.add("list_too_long", "/secrets", "found %d entries; the limit is %d", len(w.Secrets), MaxHookSecrets)
	}
	for i, s := range w.Secrets {
		p.match(secretPattern, "secret_invalid", fmt.Sprintf("/secrets/%d", i), s, "letters, digits and . _ -, at most 64")
	}
	p.hookFilter(w.Only)
	return p.err()
}

// hookURL checks an address that the farm is to call. Whether the operator allows it is
// found when it is called.
func (p *problems) hookURL(at, text string) {
	refuse := func(why string) { p.add("url_invalid", at, "found %q; %s", Clip(HookPlace(text)), why) }
	u, err := url.Parse(text)
	switch {
	case text == "":
		p.add("url_invalid", at, "the URL is missing")
	case len(text) > maxHookURL:
		p.add("url_invalid", at, "found %d bytes; the limit is %d", len(text), maxHookURL)
	case err != nil || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' }):
		refuse("want a URL such as https://ci.example.com/slipway")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		refuse("want https://host/path (http:// where the operator allows it)")
	case u.User != nil:
		refuse("want no user and password in it: calls are signed with a secret")
	case strings.Contains(text, "#"):
		refuse("want no # in it")
	}
}

// HookPlace is the scheme and host of a URL: its path and its query may be secrets of who
// gave it.
func HookPlace(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "..."
	}
	place := u.Scheme + "://" + u.Host
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		place += "/..."
	}
	return place
}

func (p *problems) hookFilter(f HookFilter) {
	p.endStates("/only/states", f.States)
	for i, name := range f.Names {
		if name == "" || len(name) > 64 || !namePattern.MatchString(strings.ReplaceAll(name, "*", "a")) {
			p.add("name_invalid", fmt.Sprintf("/only/names/%d", i), "found %q; want a name of jobs, with * for any characters", Clip(name))
		}
	}
	p.labels("/only/labels", f.Labels)
	for i, t := range f.Tenants {
		p.match(namePattern, "tenant_invalid", fmt.Sprintf("/only/tenants/%d", i), t, "lower-case letters, digits and . _ -, at most 64")
	}
	for i, t := range f.Faults {
		p.choice("fault_invalid", fmt.Sprintf("/only/faults/%d", i), "fault", string(t), string(UserFault), string(InfraFault))
	}
	for i, q := range f.Queues {
		p.match(queuePattern, "queue_invalid", fmt.Sprintf("/only/queues/%d", i), q, "lower-case letters, digits and -, at most 32")
	}
	for at, n := range map[string]int{"names": len(f.Names), "tenants": len(f.Tenants), "queues": len(f.Queues)} {
		if n > maxHookList {
			p.add("list_too_long", "/only/"+at, "found %d entries; the limit is %d", n, maxHookList)
		}
	}
}

// endStates checks a list of states that jobs end in.
func (p *problems) endStates(at string, list []State) {
	for i, s := range list {
		if !s.Terminal() {
			p.add("state_invalid", fmt.Sprintf("%s/%d", at, i), "found %q; want a state that a job ends in: %s", Clip(string(s)), Either(EndStates()))
		}
		if slices.Contains(list[:i], s) {
			p.add("state_invalid", fmt.Sprintf("%s/%d", at, i), "found %q twice", Clip(string(s)))
		}
	}
}

// EndStates lists the states that jobs end in.
func EndStates() []State {
	return slices.DeleteFunc(States(), func(s State) bool { return !s.Terminal() })
}

// Webhooks keeps the farm's webhooks. All methods are safe for concurrent use.
type Webhooks interface {
	// AddWebhook keeps a new webhook, or returns ErrWebhookExists or ErrManyWebhooks. Redis
	// sets Created.
	AddWebhook(ctx context.Context, w Webhook) error
	// Webhooks lists them by name. One that cannot be read has Damaged.
	Webhooks(ctx context.Context) ([]Webhook, error)
	// ChangeWebhook changes a webhook, or returns ErrNoWebhook, or the error of change. It
	// calls change again when another caller was faster. How many calls were given up in a
	// row counts from nothing then.
	ChangeWebhook(ctx context.Context, name string, change func(*Webhook) error) error
	// RemoveWebhook forgets a webhook, or returns ErrNoWebhook. Its calls stay in the log.
	RemoveWebhook(ctx context.Context, name string) error
}
