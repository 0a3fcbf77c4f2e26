// Package netguard keeps requests that strangers cause away from the inside of
// the network: loopback, private ranges, the cloud's metadata service. The
// address is judged when it is dialled, after every resolution and at every
// redirect, so that no name and no redirect can lead around it. Context sources
// dial through it.
package netguard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// ErrForbidden is in the chain of a dial to an address that is not allowed. It
// says nothing about what is there: no connection was tried.
var ErrForbidden = errors.New("address not allowed")

// Guard decides which addresses may be dialled: public ones, and exceptions. The
// zero value has none.
type Guard struct{ exceptions []netip.Prefix }

// New returns a Guard that lets exceptions through.
func New(exceptions []netip.Prefix) Guard { return Guard{exceptions} }

// special are the ranges of the IANA registries of special-purpose addresses
// (RFC 6890 and its successors) that are not reached over the internet, and
// those that have another address inside (NAT64, 6to4, Teredo).
func special() []string {
	return []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/4", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	}
}

// global is all of IPv6 that has been given out.
var global = netip.MustParsePrefix("2000::/3")

// Allows tells whether an address may be dialled.
func (g Guard) Allows(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range g.exceptions {
		if p.Contains(addr) {
			return true
		}
	}
	if addr.Is6() && !global.Contains(addr) {
		return false
	}
	for _, s := range special() {
		if netip.MustParsePrefix(s).Contains(addr) {
			return false
		}
	}
	return addr.IsValid()
}

// Dialer dials only what the guard allows. Its name resolver may be replaced.
func (g Guard) Dialer() *net.Dialer {
	return &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: g.control}
}

// control is called with the address of every connection before it is made.
func (g Guard) control(network, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !strings.HasPrefix(network, "tcp") || !g.Allows(ap.Addr()) {
		return fmt.Errorf("dial: %w", ErrForbidden)
	}
	return nil
}

var numeric = regexp.MustCompile(`^(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?$`)

// OddNumber tells whether a host is a number that some resolvers take for an
// address and others do not, such as 127.1, 0x7f000001 or 0177.0.0.1.
func OddNumber(host string) bool {
	if !numeric.MatchString(host) {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}
