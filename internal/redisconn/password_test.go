package redisconn_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/slipway-farm/slipway/internal/redisconn"
)

// A password in a file is neither in a URL nor in the list of processes, and may change.
func TestPasswordFile(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	server.RequireUserAuth("worker", "s3cret/1")
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := "redis://worker@" + server.Addr() + "/0?password_file=" + file
	write("s3cret/1\n")
	rdb, err := redisconn.Open(t.Context(), open)
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	server.RequireUserAuth("worker", "s3cret/2")
	write("s3cret/2")
	again, err := redisconn.Open(t.Context(), open)
	if err != nil {
		t.Fatalf("with another password: %v", err)
	}
	defer again.Close()
}

func TestMistakesAboutPasswordFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, empty, two := file("good", "s3cret\n"), file("empty", "\n"), file("two", "s3cret\ns3cret2\n")
	for url, want := range map[string]string{
		"redis://worker@a/0?password_file=" + good:                                             "",
		"redis+cluster://worker@a?addr=b:1&password_file=" + good:                              "",
		"redis+sentinel://watcher:own@a/0?master_name=m&username=worker&password_file=" + good: "",
		"unix:///run/redis.sock?password_file=" + good:                                         "",
		"redis://worker@a/0?password_file=/nonexistent/p":                                      "read password_file=: open /nonexistent/p: no such file or directory",
		"redis://worker@a/0?password_file=" + empty:                                            "has to have one line, the password",
		"redis://worker@a/0?password_file=" + two:                                              "has to have one line, the password",
		"redis://worker:s3cret@a/0?password_file=" + good:                                      "leave one of them out",
		"redis+sentinel://a/0?master_name=m&password=s3cret&password_file=" + good:             "leave one of them out",
		"redis://worker@a/0?password_file=":                                                    "give password_file= once, and with a value",
	} {
		rdb, err := redisconn.Lazy(url)
		switch {
		case want == "" && err == nil:
			_ = rdb.Close()
		case want == "" || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%s: error %v; want %q, without the password", url, err, want)
		}
	}
}
