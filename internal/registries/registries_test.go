package registries_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/registries"
)

// resolver is a DNS of names below .example; others do not exist.
func resolver(_ context.Context, host string) ([]netip.Addr, error) {
	known := map[string][]string{
		"public.example":   {"93.184.216.34", "2606:4700::1111"},
		"inside.example":   {"10.1.2.3"},
		"both.example":     {"93.184.216.34", "192.168.0.7"},
		"metadata.example": {"169.254.169.254"},
		"loop.example":     {"127.0.0.1"},
		"six.example":      {"fd00::1"},
		"self.example":     {"8.8.4.4"},
		"none.example":     {},
	}
	if host == "broken.example" {
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	addrs, ok := known[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var out []netip.Addr
	for _, a := range addrs {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

func guard(named ...string) *registries.Guard {
	return registries.New(nil, registries.Options{
		Named: func() []string { return named }, Own: []int{2375, 6379}, Lookup: resolver,
		Logins: func() ([]string, error) { return []string{"login.internal:5000"}, nil },
		Local:  func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("8.8.4.4")} },
	})
}

// TestAdmit: public registries and those on the host's loopback are open, all else is
// the operator's to name.
func TestAdmit(t *testing.T) {
	t.Parallel()
	const refused, unavailable = jobs.KindRegistryNotAllowed, jobs.KindRegistryUnavailable
	for _, tt := range []struct {
		image string
		named []string
		want  jobs.Kind
	}{
		{"busybox", nil, ""},
		{"team/app:1", nil, ""},
		{"index.docker.io/library/busybox", nil, ""},
		{"public.example/x", nil, ""},
		{"public.example:5000/x:1", nil, ""},
		{"8.8.8.8/x", nil, ""},
		{"127.0.0.1:5000/x", nil, ""},
		{"127.0.0.2:1024/x", nil, ""},
		{"localhost:5000/x", nil, ""},
		{"a.localhost:5000/x", nil, ""},
		{"[::1]:5000/x", nil, ""},
		{"login.internal:5000/x", nil, ""},
		{"self.example:5000/x", nil, ""},

		{"127.0.0.1/x", nil, refused},
		{"127.0.0.1:80/x", nil, refused},
		{"127.0.0.1:1023/x", nil, refused},
		{"127.0.0.1:0/x", nil, refused},
		{"127.0.0.1:99999/x", nil, refused},
		{"localhost/x", nil, refused},
		{"LOCALHOST:22/x", nil, refused},
		{"loop.example:80/x", nil, refused},
		{"127.0.0.1:6379/x", nil, refused},
		{"127.0.0.1:2375/x", nil, refused},
		{"self.example:6379/x", nil, refused},
		{"169.254.169.254/latest/meta-data", nil, refused},
		{"169.254.169.254:8080/x", nil, refused},
		{"metadata.example/x", nil, refused},
		{"10.0.0.1:5000/x", nil, refused},
		{"172.17.0.1:5000/x", nil, refused},
		{"192.168.1.1/x", nil, refused},
		{"100.64.0.1/x", nil, refused},
		{"0.0.0.0:5000/x", nil, refused},
		{"[fd00::1]:5000/x", nil, refused},
		{"[fe80::1]:5000/x", nil, refused},
		{"[::ffff:10.0.0.1]:5000/x", nil, refused},
		{"[64:ff9b::a9fe:a9fe]/x", nil, refused},
		{"127.1:5000/x", nil, refused},
		{"0x7f.0.0.1:5000/x", nil, refused},
		{"inside.example/x", nil, refused},
		{"both.example/x", nil, refused},
		{"six.example/x", nil, refused},
		{"none.example/x", nil, refused},
		{"nosuch.internal/x", nil, refused},
		{"login.internal/x", nil, refused},
		{"broken.example/x", nil, unavailable},

		{"registry.lan:5000/x", []string{"registry.lan:5000"}, ""},
		{"REGISTRY.lan:5000/x", []string{"Registry.LAN:5000"}, ""},
		{"registry.lan:5001/x", []string{"registry.lan:5000"}, refused},
		{"registry.lan/x", []string{"registry.lan:5000"}, refused},
		{"registry.lan:5001/x", []string{"registry.lan:*"}, ""},
		{"a.registry.lan:5000/x", []string{"*.registry.lan:5000"}, ""},
		{"registry.lan:5000/x", []string{"*.registry.lan:5000"}, refused},
		{"10.0.0.1:5000/x", []string{"10.0.0.1:5000"}, ""},
		{"10.0.0.2:5000/x", []string{"10.0.0.1:5000"}, refused},
		{"127.0.0.1:80/x", []string{"127.0.0.1:80"}, ""},
		{"169.254.169.254/x", []string{"*"}, ""},
		{"broken.example/x", []string{"broken.example"}, ""},
	} {
		t.Run(tt.image+" "+strings.Join(tt.named, " "), func(t *testing.T) {
			t.Parallel()
			err := guard(tt.named...).Admit(t.Context(), "busybox", tt.image)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if f := jobs.AsFailure(err); f.Kind != tt.want {
				t.Fatalf("got %v (%s), want %s", err, f.Kind, tt.want)
			}
		})
	}
}

// TestOneRefusal: what is there cannot be told from a refusal.
func TestOneRefusal(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var dialled atomic.Bool
	go func() {
		if conn, err := l.Accept(); err == nil {
			dialled.Store(true)
			_ = conn.Close()
		}
	}()
	addr := netip.MustParseAddrPort(l.Addr().String())
	g := registries.New(nil, registries.Options{Own: []int{int(addr.Port())}, Lookup: resolver})
	said := map[string]bool{}
	for _, host := range []string{
		l.Addr().String(), "127.0.0.1:1", "10.0.0.1:5000", "169.254.169.254", "inside.example", "nosuch.internal", "none.example", "127.0.0.1:99999", "127.1:5000",
	} {
		f := jobs.AsFailure(g.Admit(t.Context(), host+"/x"))
		if f.Kind.Info().Fault != jobs.UserFault || f.Kind.Info().Retryable || f.Cause != "" {
			t.Errorf("%s: %+v", host, f)
		}
		said[strings.ReplaceAll(f.Message, host, "HOST")+"|"+f.Hint] = true
	}
	if len(said) != 1 {
		t.Errorf("there are %d refusals, want one: %v", len(said), said)
	}
	if dialled.Load() {
		t.Error("a refused registry was connected to")
	}
}

// A public name stays public while the resolver is away, for an hour.
func TestResolverAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := false
		g := registries.New(nil, registries.Options{Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			if away {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return resolver(ctx, host)
		}})
		if err := g.Admit(t.Context(), "public.example/x"); err != nil {
			t.Fatal(err)
		}
		away = true
		if err := g.Admit(t.Context(), "public.example/x"); err != nil {
			t.Errorf("while the resolver is away: %v", err)
		}
		if err := g.Admit(t.Context(), "inside.example/x"); jobs.AsFailure(err).Kind != jobs.KindRegistryUnavailable {
			t.Errorf("a name that was not looked up before: %v", err)
		}
		time.Sleep(time.Hour)
		if err := g.Admit(t.Context(), "public.example/x"); jobs.AsFailure(err).Kind != jobs.KindRegistryUnavailable {
			t.Errorf("an hour later: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Admit(ctx, "public.example/x"); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// TestDialer: where a registry sends on to is judged, too, by its address.
func TestDialer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		image, addr string
		open        bool
	}{
		{"127.0.0.1:5000/x", l.Addr().String(), true},
		{"public.example/x", l.Addr().String(), false},
		{"busybox", l.Addr().String(), false},
		{"public.example/x", "10.0.0.1:443", false},
		{"public.example/x", "169.254.169.254:80", false},
		{"127.0.0.1:5000/x", "169.254.169.254:80", false},
		{"127.0.0.1:5000/x", "127.0.0.1:80", false},
		{"127.0.0.1:5000/x", "127.0.0.1:6379", false},
	} {
		dialer, err := guard().Dialer(t.Context(), tt.image)
		if err != nil {
			t.Fatalf("%s: %v", tt.image, err)
		}
		conn, err := dialer.DialContext(t.Context(), "tcp", tt.addr)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != tt.open {
			t.Errorf("from %s to %s: %v, want open %v", tt.image, tt.addr, err, tt.open)
		}
	}
	if dialer, err := guard("registry.lan").Dialer(t.Context(), "registry.lan/x"); err != nil || dialer != nil {
		t.Errorf("a named registry: %v, %v; want any dialer", dialer, err)
	}
	if _, err := guard().Dialer(t.Context(), "10.0.0.1/x"); jobs.AsFailure(err).Kind != jobs.KindRegistryNotAllowed {
		t.Errorf("a registry that is not open: %v", err)
	}
}
