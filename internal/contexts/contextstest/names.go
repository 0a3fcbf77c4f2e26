package contextstest

import (
	"net"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// ServeNames is a DNS server that gives every name one address after the other,
// for no time at all; the last one stays. It ends when conn is closed.
func ServeNames(conn net.PacketConn, addresses ...string) {
	asked := 0
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response = true
		m.Additionals = nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			ip := netip.MustParseAddr(addresses[min(asked, len(addresses)-1)]).As4()
			asked++
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: ip}}}
		}
		if out, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(out, from)
		}
	}
}
