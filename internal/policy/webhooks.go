package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Webhooks is about the addresses that hear of ended jobs.
type Webhooks struct {
	// Schemes that their URLs may have: https, http, or both.
	Schemes []string `yaml:"schemes"`
	// Hosts that may be called, with * for any characters; none means all that have a
	// public address.
	Hosts []string `yaml:"hosts"`
	// Networks are address ranges that are allowed although they are not public.
	Networks []string `yaml:"networks"`
}

// check finds what cannot be meant.
func (w Webhooks) check(add func(format string, args ...any)) {
	known := []string{"https", "http"}
	for _, s := range w.Schemes {
		if !slices.Contains(known, s) {
			add("webhooks.schemes: unknown scheme %q: want %s", s, jobs.Either(known))
		}
	}
	for _, h := range w.Hosts {
		if h == "" || strings.ContainsAny(h, "/@: ") {
			add("webhooks.hosts: found %q; want the name of a host, without scheme, port and path", h)
		}
	}
	for _, n := range w.Networks {
		if _, err := netip.ParsePrefix(n); err != nil {
			add("webhooks.networks: found %q; want an address range such as 10.1.2.0/24", n)
		}
	}
}
