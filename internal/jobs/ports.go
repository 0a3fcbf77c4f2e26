package jobs

import "fmt"

// Port publishes a container port.
type Port struct {
	Container int `json:"container"`
	// Host port, 0 for one that the engine picks.
	Host int `json:"host,omitempty"`
	// Protocol is "tcp" (default) or "udp".
	Protocol string `json:"protocol,omitempty"`
}

// Proto is the port's protocol, tcp unless said otherwise.
func (q Port) Proto() string {
	if q.Protocol == "" {
		return "tcp"
	}
	return q.Protocol
}

func (p *problems) ports(r Run) {
	p.choice("network_invalid", "/run/network", "network", r.Network, "none", "bridge")
	if r.Network == "none" && len(r.Ports) > 0 {
		p.add("ports_without_network", "/run/ports", "ports need the network bridge, and network is none")
	}
	p.count("/run/ports", len(r.Ports))
	hosts := map[string]bool{}
	for i, port := range r.Ports {
		at := fmt.Sprintf("/run/ports/%d", i)
		if port.Container < 1 || port.Container > 65535 || port.Host < 0 || port.Host > 65535 {
			p.add("port_invalid", at, "found %d:%d; ports go from 1 to 65535 (host 0: any)", port.Host, port.Container)
		}
		p.choice("port_invalid", at+"/protocol", "protocol", port.Protocol, "tcp", "udp")
		key := fmt.Sprintf("%d/%s", port.Host, port.Proto())
		if port.Host != 0 && hosts[key] {
			p.add("port_duplicate", at, "host port %s is asked for twice", key)
		}
		hosts[key] = true
	}
}
