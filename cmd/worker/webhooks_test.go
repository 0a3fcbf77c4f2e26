package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/policy"
)

func TestHookSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"webhooks/ci": "whsec_a", "npm": "token"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "webhooks", "unreadable"), 0o700); err != nil { // root reads any file
		t.Fatal(err)
	}
	read := hookSecrets(dir)
	if text, err := read("webhooks/ci"); err != nil || string(text) != "whsec_a" {
		t.Errorf("read %q, %v", text, err)
	}
	for name, says := range map[string]string{
		"webhooks/npm": "has no secret webhooks/npm", "webhooks/../npm": "has no secret", "webhooks/unreadable": "cannot read its secret webhooks/unreadable",
	} {
		if text, err := read(name); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %q, %v; want %q", name, text, err, says)
		}
	}
	if text, err := hookSecrets("")("webhooks/ci"); err == nil {
		t.Errorf("without a directory it is %q", text)
	}
}

// The default policy opens https to public addresses, and nothing else.
func TestHookRules(t *testing.T) {
	t.Parallel()
	r := hookRules(policy.Defaults())
	if len(r.Schemes) != 1 || r.Schemes[0] != "https" || r.Hosts != nil || r.Guard.Allows(netip.MustParseAddr("10.1.2.3")) || !r.Guard.Allows(netip.MustParseAddr("1.1.1.1")) {
		t.Errorf("the default is %+v", r)
	}
	p, err := policy.Parse([]byte("version: 1\nwebhooks: {schemes: [http], hosts: [ci.lan], networks: [10.1.2.0/24]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r = hookRules(p)
	if r.Schemes[0] != "http" || r.Hosts[0] != "ci.lan" || !r.Guard.Allows(netip.MustParseAddr("10.1.2.3")) || r.Guard.Allows(netip.MustParseAddr("10.1.3.3")) {
		t.Errorf("the rules are %+v", r)
	}
}
