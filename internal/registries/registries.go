// Package registries decides which registries a job may make the farm talk to. A
// name of an image is an address: with it a job's author chooses where the Docker
// daemon and the worker connect to from inside the operator's network.
//
//	named by the operator, or with a login       anything, and wherever it sends on to
//	public                                       anything
//	the build host's loopback, port 1024 and up  but no port that the farm itself has
//	all else, and what does not exist            nothing
//
// All refusals are one failure in the same words. Whether there is a host, a
// service or nothing behind a name that is not open cannot be told from them.
//
// Names are resolved when they are judged. The daemon resolves them again, and
// follows a registry's redirects, by itself: only a firewall bounds that. The
// worker's admission calls Admit; the Docker engine asks registries through Dialer.
package registries

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/netguard"
)

// Options of a Guard; the zero value works.
type Options struct {
	// Named returns patterns of the registries that the operator opened: a host as
	// images name it, with its port, with :* for any port, with *. for any host below
	// a domain, or * for all. It is asked each time.
	Named func() []string
	// Logins returns the registries that there are logins for, which count as named.
	Logins func() ([]string, error)
	// Own are the TCP ports that the farm itself listens on on the build host.
	Own []int
	// Lookup and Local replace the system's resolver and the addresses of this host
	// unless they are nil.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Local  func() []netip.Addr
}

// Guard judges registries. It is safe for concurrent use.
type Guard struct {
	log    *slog.Logger
	opts   Options
	public netguard.Guard

	mu sync.Mutex // guards known
	// known are the addresses that names had, and when: a name that was public a
	// moment ago is so while the resolver is away.
	known map[string]answer
}

type answer struct {
	addrs []netip.Addr
	at    time.Time
}

const (
	// lookupTime bounds one lookup, admitTime all that one call makes.
	lookupTime = 5 * time.Second
	admitTime  = 30 * time.Second
	// remember is how long an answer serves while there is no newer one.
	remember = time.Hour
	// maxKnown bounds the memory of answers.
	maxKnown = 1000
	// dialTime bounds a connection to a registry, which the daemon makes once more.
	dialTime = 5 * time.Second
	// firstPort is the first that needs no privilege: what listens below is not a
	// small farm's own registry.
	firstPort = 1024
)

// New makes a Guard. A nil logger is silent.
func New(lg *slog.Logger, opts Options) *Guard {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	if opts.Lookup == nil {
		opts.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if opts.Local == nil {
		opts.Local = localAddrs
	}
	return &Guard{log: lg, opts: opts, known: map[string]answer{}}
}

func localAddrs() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs
}

// errRefused is the cause of every refusal.
var errRefused = errors.New("the registry is neither public nor named by the operator")

// Admit refuses images whose registries are not open with KindRegistryNotAllowed,
// and fails with KindRegistryUnavailable when a name cannot be looked up.
func (g *Guard) Admit(ctx context.Context, images ...string) error {
	bounded, cancel := context.WithTimeout(ctx, admitTime)
	defer cancel()
	judged := map[string]bool{}
	for _, image := range images {
		registry := jobs.RegistryOf(image)
		if judged[registry] {
			continue
		}
		judged[registry] = true
		if _, err := g.reach(bounded, registry); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return failure(image, registry, err)
		}
	}
	return nil
}

func failure(image, registry string, err error) *jobs.Failure {
	if errors.Is(err, errRefused) {
		return jobs.Fail(jobs.KindRegistryNotAllowed, err, "check the name, use a public registry, or ask the operator to name this one under images.registries in the policy",
			"the image %q is of a registry that is not open to jobs", jobs.Clip(image))
	}
	return jobs.Fail(jobs.KindRegistryUnavailable, err, "the farm tries again by itself", "the address of the registry %s could not be looked up", jobs.Clip(registry))
}

// Dialer returns what dials the registry of an image and where it sends on to, or
// why Admit refuses the image. nil is any dialer.
func (g *Guard) Dialer(ctx context.Context, image string) (*net.Dialer, error) {
	registry := jobs.RegistryOf(image)
	to, err := g.reach(ctx, registry)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, failure(image, registry, err)
	case to == anything:
		return nil, nil
	}
	return &net.Dialer{Timeout: dialTime, Control: func(network, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || !strings.HasPrefix(network, "tcp") {
			return fmt.Errorf("dial: %w", errRefused)
		}
		found, err := g.judge(ap.Addr(), int(ap.Port()))
		if err == nil && found > to {
			err = errRefused // a public registry that sends to the host's loopback
		}
		if err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		return nil
	}}, nil
}

// reach is which addresses a registry may have, and may send on to.
type reach int

const (
	public   reach = iota // public ones
	beside                // those, and the build host's loopback
	anything              // all
)

// reach judges a registry by its name and the addresses that it has at the moment.
func (g *Guard) reach(ctx context.Context, registry string) (reach, error) {
	if g.named(registry) {
		return anything, nil
	}
	if registry == jobs.DockerHub { // the daemon's own, by a mirror or otherwise
		return public, nil
	}
	host, port, ok := split(registry)
	if !ok || netguard.OddNumber(host) {
		return 0, errRefused
	}
	addrs, err := g.addrs(ctx, host)
	if err != nil {
		return 0, err
	}
	widest := public
	for _, a := range addrs {
		r, err := g.judge(a, port)
		if err != nil {
			return 0, fmt.Errorf("%w: %s is at %s", err, registry, a)
		}
		widest = max(widest, r)
	}
	return widest, nil
}

// judge judges one address; a port of 0 is one that the name leaves to the daemon.
func (g *Guard) judge(addr netip.Addr, port int) (reach, error) {
	addr = addr.Unmap().WithZone("")
	farms := slices.Contains(g.opts.Own, port)
	switch {
	case addr.IsLoopback() && port >= firstPort && !farms:
		return beside, nil
	case addr.IsLoopback(), !g.public.Allows(addr):
		return 0, errRefused
	case farms && slices.Contains(g.opts.Local(), addr): // what the firewall keeps from others
		return 0, errRefused
	}
	return public, nil
}

// named reports whether the operator opened a registry.
func (g *Guard) named(registry string) bool {
	if g.opts.Named != nil && slices.ContainsFunc(g.opts.Named(), func(p string) bool { return jobs.Wildcard(strings.ToLower(p), registry) }) {
		return true
	}
	if g.opts.Logins == nil {
		return false
	}
	logins, err := g.opts.Logins()
	if err != nil {
		g.log.Warn("reading registry logins failed", "err", err)
	}
	return slices.ContainsFunc(logins, func(l string) bool { return strings.EqualFold(l, registry) })
}

// split takes the host of an image's name apart. Without a port it is 0.
func split(registry string) (host string, port int, ok bool) {
	host = registry
	if i := strings.LastIndexByte(registry, ':'); i > strings.LastIndexByte(registry, ']') {
		host = registry[:i]
		n, err := strconv.ParseUint(registry[i+1:], 10, 16)
		if err != nil || n == 0 {
			return "", 0, false
		}
		port = int(n)
	}
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		host, ok = strings.CutSuffix(inner, "]")
		return host, port, ok
	}
	return host, port, host != ""
}

// addrs returns the addresses of a host, at least one.
func (g *Guard) addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs, err := g.opts.Lookup(ctx, host)
	var dns *net.DNSError
	switch {
	case err == nil && len(addrs) > 0:
		g.remember(host, addrs)
		return addrs, nil
	case err == nil, errors.As(err, &dns) && dns.IsNotFound:
		return nil, fmt.Errorf("%w: %s has no address", errRefused, host)
	}
	if old := g.recall(host); old != nil {
		g.log.WarnContext(ctx, "looking up a registry failed; it is judged by the addresses that it had", "registry", host, "err", err)
		return old, nil
	}
	return nil, fmt.Errorf("look up registry %s: %w", host, err)
}

func (g *Guard) remember(host string, addrs []netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= maxKnown {
		clear(g.known)
	}
	g.known[host] = answer{addrs, time.Now()}
}

func (g *Guard) recall(host string) []netip.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.known[host]; time.Since(a.at) < remember {
		return a.addrs
	}
	return nil
}
