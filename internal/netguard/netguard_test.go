package netguard_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/slipway-farm/slipway/internal/netguard"
)

func TestAllows(t *testing.T) {
	t.Parallel()
	g := netguard.New([]netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("fd00:1::/64")})
	for addr, want := range map[string]bool{
		"1.1.1.1": true, "93.184.216.34": true, "2606:4700::1111": true, "::ffff:1.1.1.1": true,
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "fd00:1::7": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.1.3.1": false, "100.64.0.1": false, "100.127.255.255": false,
		"127.0.0.1": false, "127.255.255.254": false, "169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.0.0.1": false, "192.0.2.1": false, "192.168.1.1": false, "198.18.0.1": false, "203.0.113.9": false, "224.0.0.1": false,
		"240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b::169.254.169.254": false,
		"64:ff9b:1::1": false, "100::1": false, "2001::1": false, "2001:db8::1": false, "2002:7f00:1::": false, "fc00::1": false,
		"fd00::1": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "ff02::1": false, "3fff::1": false,
	} {
		if got := g.Allows(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Allows(%s) = %v, want %v", addr, got, want)
		}
	}
	if g.Allows(netip.Addr{}) {
		t.Error("the invalid address is allowed")
	}
}

func TestDialer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, addr := range []string{l.Addr().String(), "localhost:" + port, "[::ffff:127.0.0.1]:" + port, "127.0.0.1:1"} {
		conn, err := netguard.Guard{}.Dialer().DialContext(t.Context(), "tcp", addr)
		if !errors.Is(err, netguard.ErrForbidden) {
			t.Errorf("dial %s = %v, want ErrForbidden", addr, err)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
	open := netguard.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}).Dialer()
	conn, err := open.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("dial an exception: %v", err)
	}
	_ = conn.Close()
	if _, err := open.DialContext(t.Context(), "udp", l.Addr().String()); !errors.Is(err, netguard.ErrForbidden) {
		t.Errorf("dial udp = %v, want ErrForbidden", err)
	}
}

func TestOddNumber(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"0": true, "1": true, "127.1": true, "127.0.1": true, "0x7f000001": true, "0x7f.1": true, "2130706433": true, "0177.0.0.1": true, "127.0.0.1.": true, "0x": true,
		"1.2.3.256": true, "127.0.0.1": false, "example.com": false, "1.example.com": false, "::1": false, "1e100.net": false, "": false, "0xcafe.example": false,
	} {
		if got := netguard.OddNumber(host); got != want {
			t.Errorf("OddNumber(%q) = %v, want %v", host, got, want)
		}
	}
}
