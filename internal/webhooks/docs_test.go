//go:build integration

package webhooks_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// snippet returns the code of a language that the documentation gives.
func snippet(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "webhooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(page, -1)
	if len(found) != 1 {
		t.Fatalf("the page has %d pieces of %s; want one", len(found), language)
	}
	return string(found[0][1])
}

const goMain = `package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	var in struct {
		Secret, Body string
		Headers      map[string]string
	}
	_ = json.NewDecoder(os.Stdin).Decode(&in)
	h := http.Header{}
	for key, value := range in.Headers {
		h.Set(key, value)
	}
	fmt.Println(verified(in.Secret, h, []byte(in.Body)))
}

`

const pythonMain = `
import json, sys
r = json.load(sys.stdin)
print("true" if verified(r["Secret"], r["Headers"], r["Body"].encode()) else "false")
`

// What the documentation says about checking a signature holds for what is sent.
func TestCheckingAsDocumented(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"check.py": snippet(t, "python") + pythonMain, "check.go": goMain + snippet(t, "go")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "check"), filepath.Join(dir, "check.go")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var body []byte
	headers := map[string]string{}
	senderTo(roundTrip(func(req *http.Request) (*http.Response, error) {
		body, _ = io.ReadAll(req.Body)
		for key := range req.Header {
			headers[strings.ToLower(key)] = req.Header.Get(key)
		}
		return answer(http.StatusOK, ""), nil
	})).Send(t.Context(), "https://ci.example.com/", []string{"webhooks/next", "webhooks/ci"}, "msg_1", []byte(`{"specversion":"1.0","text":"ä"}`))
	for _, program := range [][]string{{"python3", filepath.Join(dir, "check.py")}, {filepath.Join(dir, "check")}} {
		for _, tt := range []struct {
			secret, change string
			want           bool
		}{
			{secretOf('c'), "", true},
			{secretOf('n'), "", true},
			{secretOf('x'), "", false},
			{secretOf('c'), "body", false},
			{secretOf('c'), "webhook-id", false},
			{secretOf('c'), "webhook-timestamp", false},
		} {
			in := map[string]any{"Secret": tt.secret, "Body": string(body), "Headers": headers}
			switch tt.change {
			case "":
			case "body":
				in["Body"] = string(body) + " "
			default:
				other := map[string]string{tt.change: headers[tt.change][:len(headers[tt.change])-1] + "0"}
				for key, value := range headers {
					if key != tt.change {
						other[key] = value
					}
				}
				if other[tt.change] == headers[tt.change] {
					other[tt.change] = headers[tt.change][:len(headers[tt.change])-1] + "1"
				}
				in["Headers"] = other
			}
			raw, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program[0], program[1:]...)
			cmd.Stdin = bytes.NewReader(raw)
			if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != fmt.Sprint(tt.want) {
				t.Errorf("%s with another %q: %s, %v; want %t", filepath.Base(program[len(program)-1]), tt.change, out, err, tt.want)
			}
		}
	}
}
