package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// The server takes references of contexts as they are, and opens none: workers do, by their
// policy.
func TestReferencesAreNotOpened(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) {
		o.Document = func(s jobs.Spec, _ url.Values) (jobs.Spec, error) { return s, nil }
	})
	trap, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dialed := make(chan struct{}, 100)
	go func() {
		for {
			c, err := trap.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
			dialed <- struct{}{}
		}
	}()
	defer trap.Close()
	for _, ref := range []string{
		"http://" + trap.Addr().String() + "/a.tar", "https://" + trap.Addr().String() + "/a.tar", "https://169.254.169.254/latest/meta-data", "file:///etc/passwd",
		"git+https://" + trap.Addr().String() + "/repo#main", "s3://bucket/key", "gopher://" + trap.Addr().String(), "cas:sha256:" + zeros, "-", "/etc/passwd",
	} {
		for _, path := range []string{"/v1/jobs", "/v1/jobs/bulk", "/v1/build"} {
			r := f.send(request{method: "POST", path: path, as: "submitter", body: strings.NewReader(`{"context":{"ref":"` + ref + `"},"build":{}}`), header: http.Header{"Content-Type": {"application/json"}}})
			if r.StatusCode >= 500 || strings.Contains(string(r.body), "root:") {
				t.Errorf("%s of %s: %d %s", path, ref, r.StatusCode, r.body)
			}
		}
	}
	if n := len(dialed); n != 0 {
		t.Errorf("the server dialed %d times", n)
	}
}

// Nothing in the package dials, fetches or runs anything: what it could be told to is not there.
func TestNothingIsDialed(t *testing.T) {
	t.Parallel()
	for name, file := range sources(t, ".") {
		for _, i := range file.Imports {
			if path := strings.Trim(i.Path.Value, `"`); slices.Contains([]string{"os/exec", "net/http/httputil", "net/rpc", "plugin"}, path) || strings.HasSuffix(path, "/internal/contexts/http") {
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "http" && slices.Contains([]string{"Get", "Post", "Head", "Client", "DefaultClient", "Transport"}, sel.Sel.Name) || x.Name == "net" && strings.HasPrefix(sel.Sel.Name, "Dial")) {
				t.Errorf("%s uses %s.%s", name, x.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

// sources are the files of a package without its tests.
func sources(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if files[name], err = parser.ParseFile(token.NewFileSet(), name, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// Secrets and their hashes are compared by crypto/subtle, and by nothing else.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	t.Parallel()
	secret := func(e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.SelectorExpr:
			return e.Sel.Name == "Hash"
		case *ast.Ident:
			return e.Name == "secret" || e.Name == "hash"
		case *ast.CallExpr:
			f, ok := e.Fun.(*ast.Ident)
			return ok && f.Name == "hash"
		}
		return false
	}
	constant := 0
	for _, dir := range []string{".", "../access", "../records"} {
		for name, file := range sources(t, dir) {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BinaryExpr:
					if (n.Op == token.EQL || n.Op == token.NEQ) && (secret(n.X) || secret(n.Y)) {
						t.Errorf("%s compares a secret with %s", name, n.Op)
					}
				case *ast.SelectorExpr:
					if n.Sel.Name == "ConstantTimeCompare" {
						constant++
					}
				}
				return true
			})
		}
	}
	if constant != 1 {
		t.Errorf("ConstantTimeCompare is used %d times, want once, in access", constant)
	}
}

// An ID that is unknown and a secret that is wrong have the same answer.
func TestUnknownAndWrongAreAlike(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	id, _, err := access.Split(f.tokens["admin"])
	if err != nil {
		t.Fatal(err)
	}
	var answers []string
	for _, text := range []string{"slipway_" + id + "_wrong", "slipway_aaaaaaaaaa_wrong"} {
		r := f.send(request{method: "GET", path: "/v1/jobs", header: http.Header{"Authorization": {"Bearer " + text}}}).want(t, http.StatusUnauthorized)
		answers = append(answers, string(r.body))
	}
	if answers[0] != answers[1] {
		t.Errorf("they are told apart: %q", answers)
	}
}
