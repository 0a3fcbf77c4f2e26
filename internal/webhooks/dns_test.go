package webhooks_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
)

// fakeDNS is a connection to a DNS server: all names below example.com are on loopback, those
// of mapped with IPv6 addresses that have it inside, and no others are there. It talks as over
// TCP, which a resolver does on connections that are not of packets.
func fakeDNS(t *testing.T) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		for {
			var size [2]byte
			if _, err := io.ReadFull(server, size[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(server, query); err != nil {
				return
			}
			reply := dnsReply(query)
			if _, err := server.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
				return
			}
		}
	}()
	return client
}

// dnsReply answers a query with one question.
func dnsReply(query []byte) []byte {
	end, name := 12, []string{}
	for query[end] != 0 {
		name = append(name, string(query[end+1:end+1+int(query[end])]))
		end += 1 + int(query[end])
	}
	question := query[12 : end+5]
	kind, host := binary.BigEndian.Uint16(query[end+1:]), strings.Join(name, ".")
	var address []byte
	switch {
	case host == "rebound.example.com" && kind == 1:
		address = []byte{127, 0, 0, 1}
	case host == "mapped.example.com" && kind == 28:
		address = net.ParseIP("::ffff:127.0.0.1").To16()
	}
	flags, answers := uint16(0x8180), uint16(0)
	if !strings.HasSuffix(host, "example.com") {
		flags |= 3 // no such name
	}
	if address != nil {
		answers = 1
	}
	reply := append([]byte{}, query[:2]...)
	for _, field := range []uint16{flags, 1, answers, 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, field)
	}
	reply = append(reply, question...)
	if address != nil {
		reply = append(reply, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 1, 0, byte(len(address)))
		reply = append(reply, address...)
	}
	return reply
}
