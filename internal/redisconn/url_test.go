package redisconn_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// Each mistake about TLS gets a sentence of its own, in whatever topology, and none shows
// a password.
func TestMistakesAboutTLS(t *testing.T) {
	t.Parallel()
	certs, others := hosttest.MakeCertificates(t), hosttest.MakeCertificates(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, scheme, query, want string }{
		{"good", "rediss", "ca=" + certs.CA + "&cert=" + certs.Client + "&key=" + certs.ClientKey + "&server_name=redis.example", ""},
		{"system's authorities", "rediss", "", ""},
		{"no such authority", "rediss", "ca=/nonexistent/ca.pem", "read ca=: open /nonexistent/ca.pem: no such file or directory"},
		{"not an authority", "rediss", "ca=" + empty, "ca=" + empty + " has no certificate in PEM format"},
		{"no such certificate", "rediss", "cert=/nonexistent/c.pem&key=" + certs.ClientKey, "open /nonexistent/c.pem: no such file or directory"},
		{"no such key", "rediss", "cert=" + certs.Client + "&key=/nonexistent/c.key", "open /nonexistent/c.key: no such file or directory"},
		{"certificate alone", "rediss", "cert=" + certs.Client, "cert= needs the key= of the certificate"},
		{"key alone", "rediss", "key=" + certs.ClientKey, "key= needs the cert= that it belongs to"},
		{"another's key", "rediss", "cert=" + certs.Client + "&key=" + others.ClientKey, "private key does not match public key"},
		{"empty", "rediss", "ca=", "give ca= once, and with a value"},
		{"twice", "rediss", "ca=" + certs.CA + "&ca=" + others.CA, "give ca= once, and with a value"},
		{"without TLS", "redis", "ca=" + certs.CA, "write rediss instead of redis"},
	} {
		for topology, address := range map[string]string{
			"":          "user:s3cret@127.0.0.1:1/0?",
			"+sentinel": "watcher:s3cret@127.0.0.1:1/0?master_name=farm&username=user&password=s3cret&addr=127.0.0.1:2&",
			"+cluster":  "user:s3cret@127.0.0.1:1?addr=127.0.0.1:2&",
		} {
			t.Run(tt.name+topology, func(t *testing.T) {
				t.Parallel()
				rdb, err := redisconn.Lazy(tt.scheme + topology + "://" + strings.TrimSuffix(address+tt.query, "&"))
				if tt.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					if err := rdb.Close(); err != nil {
						t.Error(err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v; want a line that says %q, without the password", err, tt.want)
				}
			})
		}
	}
}

// A password that was not escaped is not shown in part either.
func TestNoPartOfAPassword(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"redis://user:left/right@host:1/0", "redis://user:12/right@host:1/0", "redis://user:left?right@host:1/0",
		"redis://user:left#right@host:1/0", "redis://user:12#right@host:1/0", "redis+cluster://user:left%right@host:1",
		"redis+cluster://user:left@host:port", "redis+sentinel://user:left@host:1/0?password=right&master_nam=farm",
		"redis+sentinel://host:1/0?password=right@left", "redis+ring://user:left@host:1", "rediss+sentinel://left:right@host:1",
	} {
		_, err := redisconn.Lazy(raw)
		if err == nil || strings.Contains(err.Error(), "left") || strings.Contains(err.Error(), "right") {
			t.Errorf("%s: error %v; want one without any of the password", raw, err)
		}
	}
	rdb, err := redisconn.Lazy("redis://" + url.UserPassword("user", "left/?#%@right").String() + "@host:1/0")
	if err != nil {
		t.Fatalf("an escaped password: %v", err)
	}
	_ = rdb.Close()
}
