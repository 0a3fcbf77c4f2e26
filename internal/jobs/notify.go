package jobs

import "fmt"

// MaxNotify is how many addresses can hear of the end of one job.
const MaxNotify = 4

// Notify is an address outside the farm that hears of the end of a job, beside the farm's
// webhooks. It changes nothing of what the job does.
type Notify struct {
	URL string `json:"url"`
	// Secret is the workers' name of what the call is signed with, in a folder of its own;
	// without one it is not signed.
	Secret string `json:"secret,omitempty"`
	// States are those that it hears of, all when empty.
	States []State `json:"states,omitempty"`
}

// Takes reports whether it hears of a job that has ended in a state.
func (n Notify) Takes(s State) bool { return oneOf(n.States, s) }

// Validate reports everything wrong with it, as a [*Invalid].
func (n Notify) Validate() error {
	var p problems
	p.notify("", n)
	return p.err()
}

func (p *problems) notify(at string, n Notify) {
	p.hookURL(at+"/url", n.URL)
	p.match(secretPattern, "secret_invalid", at+"/secret", n.Secret, "letters, digits and . _ -, at most 64")
	p.endStates(at+"/states", n.States)
}

func (p *problems) notifies(list []Notify) {
	if len(list) > MaxNotify {
		p.add("list_too_long", "/notify", "found %d entries; the limit is %d", len(list), MaxNotify)
	}
	seen := map[string]bool{}
	for i, n := range list {
		at := fmt.Sprintf("/notify/%d", i)
		p.notify(at, n)
		if seen[n.URL] {
			p.add("notify_duplicate", at+"/url", "found the same URL twice")
		}
		seen[n.URL] = true
	}
}
