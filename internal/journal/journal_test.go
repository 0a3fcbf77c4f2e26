package journal_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/journal"
)

func TestDir(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	d := journal.At[journal.Entry](path)
	if all, err := d.Read(nil); err != nil || len(all) != 0 || !d.IsEmpty() {
		t.Fatalf("a directory that is not there has %v, %v", all, err)
	}
	if none, err := d.Get("job-1", 1); err != nil || none.Job != "" {
		t.Fatalf("got %+v, %v of nothing", none, err)
	}
	e := journal.Entry{
		Job: "job-1", Attempt: 2, Nonce: "n", LeaseUntil: time.Minute,
		Container: journal.Container{}.Created("c1").Stopping(journal.Reason{Drain: true}), Release: &jobs.Release{Reason: "drain"},
	}
	for _, write := range []func(journal.Entry) error{d.Write, d.WriteDurable} {
		if err := write(e); err != nil {
			t.Fatal(err)
		}
		got, err := d.Get("job-1", 2)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("read %+v, %v; want %+v", got, err, e)
		}
	}
	// What a dying process left, what cannot be read, and an entry under another's name.
	for name, text := range map[string]string{"torn.json.tmp": `{"jo`, "torn.json": `{"jo`, "other-a1.json": `{"job":"job-9","attempt":1}`, "notes.txt": "x"} {
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var odd []string
	all, err := d.Read(func(name string, err error) {
		if err == nil && name != "other-a1.json" {
			t.Errorf("%s is odd without a reason", name)
		}
		odd = append(odd, name)
	})
	slices.Sort(odd)
	if err != nil || len(all) != 1 || !slices.Equal(odd, []string{"other-a1.json", "torn.json"}) {
		t.Errorf("read %+v, %v with %q put aside; want the one entry", all, err, odd)
	}
	for range 2 {
		if err := d.Remove("job-1", 2); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(path)
	if err != nil || len(left) != 3 {
		t.Errorf("left are %v, %v; want what was put aside and what is none of ours", left, err)
	}
}
