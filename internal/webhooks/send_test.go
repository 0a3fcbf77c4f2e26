package webhooks_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/netguard"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

// The signature is the one of a request that was signed with openssl dgst -sha256 -mac HMAC.
func TestSignature(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var header http.Header
		to := roundTrip(func(req *http.Request) (*http.Response, error) {
			header = req.Header
			return answer(http.StatusOK, ""), nil
		})
		time.Sleep(time.Until(time.Unix(1614265330, 0)))
		s := webhooks.NewSender(func() webhooks.Rules { return webhooks.Rules{Schemes: []string{"https"}} }, func(string) ([]byte, error) {
			return []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), nil
		}, webhooks.SenderOptions{Transport: to})
		s.Send(t.Context(), "https://ci.example.com/", []string{"a"}, "msg_p5jXN8AQM9LWM0D4loKWxJek", []byte(`{"test": 2432232314}`))
		for key, want := range map[string]string{
			"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330", "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		} {
			if got := header.Get(key); got != want {
				t.Errorf("%s is %q; want %q", key, got, want)
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }

// While a secret takes the place of another one, a receiver may know either.
func TestSecretsInRotation(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for _, knows := range []byte{'c', 'n'} {
			both := ci()
			both.Secrets = []string{"next", "ci"}
			f := newFarm(t, both)
			f.keys = []string{secretOf(knows)}
			stop := f.run()
			f.end("job-1", jobs.Spec{}, succeeded())
			time.Sleep(5 * time.Second)
			stop()
			if len(f.requests()) != 1 {
				t.Errorf("%d requests; want one", len(f.requests()))
			}
		}
	})
}

// A secret that the worker has not, or that is none of Standard Webhooks, keeps the call from
// being made; what is said of it tells no value.
func TestSecretsThatDoNotSign(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for name, says := range map[string]string{"none": `no secret named "webhooks/none"`, "damaged": `secret webhooks/damaged is not one of Standard Webhooks`} {
			w := ci()
			w.Secrets = []string{"ci", name}
			f := newFarm(t, w)
			stop := f.run()
			f.end("job-1", jobs.Spec{}, succeeded())
			time.Sleep(2 * time.Second)
			stop()
			if c := f.log()[0]; c.State != jobs.CallDue || c.Tries != 1 || !strings.Contains(c.Said, says) || strings.Contains(c.Said, "hunter") || len(f.requests()) != 0 {
				t.Errorf("the call is %+v; want it to say %q", c, says)
			}
		}
	})
}

func TestParseSecret(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		secretOf('a'): true, " " + secretOf('a') + "\n": true, "whsec_" + strings.Repeat("QUFB", 8): true,
		"": false, "whsec_": false, "hunter2": false, "whsec_???": false, "whsec_QUFB": false, strings.TrimPrefix(secretOf('a'), "whsec_"): false,
		"whsec_" + strings.Repeat("QUFB", 22): false,
	} {
		if _, err := webhooks.ParseSecret([]byte(text)); (err == nil) != ok {
			t.Errorf("ParseSecret(%q): %v", text, err)
		}
	}
}

// No name, no number and no redirect leads inside the network.
func TestAddressesThatAreNotCalled(t *testing.T) {
	t.Parallel()
	reached := 0
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	defer inside.Close()
	_, port, err := net.SplitHostPort(inside.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := senderOf(webhooks.Rules{Schemes: []string{"http", "https"}}, resolver(t))
	for _, host := range []string{
		"127.0.0.1", "localhost", "rebound.example.com", "mapped.example.com", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "127.1", "0x7f000001", "2130706433", "0177.0.0.1",
		"169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		v := s.Send(ctx, "http://"+host+":"+port+"/", nil, "msg_1", []byte("{}"))
		cancel()
		if said := v.Said(); v.Accepted() || !strings.Contains(said, "does not allow the address") {
			t.Errorf("%s: %q; want it refused", host, said)
		}
	}
	if reached != 0 {
		t.Errorf("%d requests came inside", reached)
	}
}

// senderOf makes real requests by rules.
func senderOf(r webhooks.Rules, names *net.Resolver) *webhooks.Sender {
	return webhooks.NewSender(func() webhooks.Rules { return r }, secrets, webhooks.SenderOptions{Resolver: names})
}

// resolver is one whose names lead to loopback.
func resolver(t *testing.T) *net.Resolver {
	t.Helper()
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return fakeDNS(t), nil }}
}

func loopback() webhooks.Rules {
	return webhooks.Rules{Schemes: []string{"http"}, Guard: netguard.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})}
}

// A redirect is an answer like others: it is not followed, wherever it leads.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	reached := 0
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	defer inside.Close()
	for _, code := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		outside := httptest.NewServer(http.RedirectHandler(inside.URL, code))
		v := senderOf(loopback(), nil).Send(t.Context(), outside.URL, nil, "msg_1", []byte("{}"))
		outside.Close()
		if v.Accepted() || !strings.Contains(v.Said(), "leads elsewhere") || reached != 0 {
			t.Errorf("%d: %q, and %d requests came to where it leads", code, v.Said(), reached)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("a long answer ", 1000)))
	}))
	defer outside.Close()
	rules := loopback()
	if v := senderOf(rules, nil).Send(t.Context(), outside.URL, nil, "msg_1", []byte("{}")); !v.Accepted() || len(v.Said()) > 200 {
		t.Errorf("what the operator opens was not accepted: %q", v.Said())
	}
	for says, change := range map[string]func(*webhooks.Rules){
		"no http://":              func(r *webhooks.Rules) { r.Schemes = []string{"https"} },
		"does not allow the host": func(r *webhooks.Rules) { r.Hosts = []string{"*.example.com"} },
		"does not allow the addr": func(r *webhooks.Rules) { r.Guard = netguard.Guard{} },
	} {
		narrow := loopback()
		change(&narrow)
		if v := senderOf(narrow, nil).Send(t.Context(), outside.URL+"/s3cret", nil, "msg_1", []byte("{}")); v.Accepted() || !strings.Contains(v.Said(), says) {
			t.Errorf("%q; want it to say %q", v.Said(), says)
		}
	}
}

// What is said of a call has no part of the URL that may be a secret.
func TestNoURLInWhatIsSaid(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, to := range []string{closed.URL + "/s3cret?s3cret", "http://none.invalid/s3cret", "https://127.0.0.1/s3cret", "http://me:s3cret@127.0.0.1/", "http://%zz/s3cret"} {
		v := senderOf(loopback(), resolver(t)).Send(t.Context(), to, nil, "msg_1", []byte("{}"))
		if v.Accepted() || v.Said() == "" || strings.Contains(v.Said(), "s3cret") {
			t.Errorf("%s: %q", to, v.Said())
		}
	}
}
