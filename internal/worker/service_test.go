package worker

import "testing"

// The address that is probed is the one that a port is bound to, and the one that
// producers are told leads them there.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ bound, advertise, probed, told string }{
		{"127.0.0.1:32768", "", "127.0.0.1:32768", "127.0.0.1:32768"},
		{"127.0.0.1:32768", "build-1", "127.0.0.1:32768", "127.0.0.1:32768"},
		{"[::1]:80", "build-1", "[::1]:80", "[::1]:80"},
		{"0.0.0.0:80", "build-1", "127.0.0.1:80", "build-1:80"},
		{"[::]:80", "build-1", "[::1]:80", "build-1:80"},
		{"10.0.0.5:80", "", "10.0.0.5:80", "10.0.0.5:80"},
		{"10.0.0.5:80", "build-1.example.com", "10.0.0.5:80", "build-1.example.com:80"},
		{"0.0.0.0:80", "2001:db8::5", "127.0.0.1:80", "[2001:db8::5]:80"},
		{"0.0.0.0:80", "", "127.0.0.1:80", "0.0.0.0:80"},
	} {
		o := Options{AdvertiseAddress: tt.advertise}
		if probed, told := loopback(tt.bound), o.advertised(tt.bound); probed != tt.probed || told != tt.told {
			t.Errorf("%s, advertised as %q: probed %s, told %s; want %s, %s", tt.bound, tt.advertise, probed, told, tt.probed, tt.told)
		}
	}
}
