package policy_test

import (
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/policy"
)

// TestPorts: a job gets no port below 1024 and none of the farm's own unless the
// operator says so.
func TestPorts(t *testing.T) {
	t.Parallel()
	tcp := func(host int) jobs.Port { return jobs.Port{Container: 80, Host: host} }
	udp := func(host int) jobs.Port { return jobs.Port{Container: 53, Host: host, Protocol: "udp"} }
	const farms = 6379
	for _, tt := range []struct {
		name, ports string
		asks        []jobs.Port
		refused     string // the port, "" for none
	}{
		{"one that the engine picks", "", []jobs.Port{tcp(0)}, ""},
		{"one that the engine picks, none open", "[]", []jobs.Port{tcp(0)}, ""},
		{"1024", "", []jobs.Port{tcp(1024)}, ""},
		{"the last", "", []jobs.Port{tcp(65535)}, ""},
		{"1023", "", []jobs.Port{tcp(1023)}, "1023/tcp"},
		{"the first", "", []jobs.Port{tcp(1)}, "1/tcp"},
		{"below 1024 over UDP", "", []jobs.Port{udp(53)}, "53/udp"},
		{"the second one", "", []jobs.Port{tcp(8080), tcp(443)}, "443/tcp"},
		{"the farm's own", "", []jobs.Port{tcp(farms)}, "6379/tcp"},
		{"the farm's own over UDP", "", []jobs.Port{udp(farms)}, ""},
		{"the farm's own in a range", "[6000-7000]", []jobs.Port{tcp(farms)}, "6379/tcp"},
		{"the farm's own by number", "[6379]", []jobs.Port{tcp(farms)}, ""},
		{"opened below 1024", "[80, 443, 1024-65535]", []jobs.Port{tcp(80), tcp(443), tcp(8080)}, ""},
		{"another below 1024", "[80, 1024-65535]", []jobs.Port{tcp(81)}, "81/tcp"},
		{"outside of a range", "[8000-8999]", []jobs.Port{tcp(8999), tcp(9000)}, "9000/tcp"},
		{"none open", "[]", []jobs.Port{tcp(8080)}, "8080/tcp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := "version: 1\n"
			if tt.ports != "" {
				text += "ports: {host: " + tt.ports + "}\n"
			}
			p, err := policy.Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			err = p.Ports.Check(jobs.Run{Ports: tt.asks}, []int{2375, farms})
			if tt.refused == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			f := jobs.AsFailure(err)
			if f.Kind != jobs.KindPortNotAllowed || f.Stage != jobs.StageRun || !strings.Contains(f.Message, tt.refused) || !strings.Contains(f.Hint, "ports.host") {
				t.Errorf("got %+v, want a refusal of %s", f, tt.refused)
			}
			if info := f.Kind.Info(); info.Fault != jobs.UserFault || info.Retryable {
				t.Errorf("the kind is %+v; want the user's fault, and one attempt", info)
			}
		})
	}
}
