package jobstest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// reserveTests are about idempotency keys.
func reserveTests() []subtest {
	return []subtest{
		{"reserve", testReserve},
		{"reserve by creating", testReserveByCreating},
		{"reserve for a tenant", testReserveForTenant},
		{"reserve at the same time", testReserveConcurrently},
	}
}

func testReserve(f *farm) {
	reserve := func(key, id, digest, wantID, wantDigest string) {
		f.t.Helper()
		gotID, gotDigest, err := f.Records.Reserve(f.ctx, key, id, digest)
		if err != nil || gotID != wantID || gotDigest != wantDigest {
			f.t.Errorf("Reserve(%q, %s, %s) = %s, %s, %v; want %s, %s", key, id, digest, gotID, gotDigest, err, wantID, wantDigest)
		}
	}
	reserve("key", "job-1", "aa", "job-1", "aa")
	reserve("key", "job-2", "aa", "job-1", "aa")
	reserve("key", "job-3", "bb", "job-1", "aa")
	reserve("key ", "job-4", "cc", "job-4", "cc")
	reserve("{key}\n\u00e4 *", "job-5", "dd", "job-5", "dd")
	reserve("key", "job-6", "ee", "job-1", "aa")
	blue := jobs.Spec{Tenant: "blue", IdempotencyKey: "key"}
	reserve(blue.ReservedKey(), "job-7", "aa", "job-7", "aa")
	reserve("bluekey", "job-8", "aa", "job-8", "aa")
	reserve(blue.ReservedKey(), "job-9", "aa", "job-7", "aa")
}

// A database that went back in time between the reservation and the record must
// not have the record alone: the next submission would be another job.
func testReserveByCreating(f *farm) {
	spec := jobs.Spec{Name: "a", IdempotencyKey: "key"}
	id := f.create(spec)[0]
	got, digest, err := f.Records.Reserve(f.ctx, "key", "another", "aa")
	if err != nil || got != id || digest != jobs.SpecDigest(f.get(id).Spec) {
		f.t.Errorf("Reserve = %s, %s, %v; want job %s and the digest of its document", got, digest, err, id)
	}
}

func testReserveForTenant(f *farm) {
	blue, red, none := keyedOf("blue"), keyedOf("red"), keyedOf("")
	ids := f.create(blue, none)
	for _, tt := range []struct {
		spec jobs.Spec
		want string
	}{{blue, ids[0]}, {none, ids[1]}, {red, "another"}} {
		if got, _, err := f.Records.Reserve(f.ctx, tt.spec.ReservedKey(), "another", "aa"); err != nil || got != tt.want {
			f.t.Errorf("Reserve(the key of tenant %q) = %s, %v; want %s", tt.spec.Tenant, got, err, tt.want)
		}
	}
}

// keyedOf is the document of a tenant; all have the same idempotency key.
func keyedOf(tenant string) jobs.Spec {
	s := spec("app")
	s.Tenant, s.IdempotencyKey = tenant, "key"
	return s
}

func testReserveConcurrently(f *farm) {
	const callers = 8
	got := make([]string, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			id, _, err := f.Records.Reserve(f.ctx, "key", fmt.Sprintf("job-%d", i), "aa")
			if err != nil {
				f.t.Errorf("Reserve: %v", err)
			}
			got[i] = id
		})
	}
	wg.Wait()
	if slices.Sort(got); got[0] != got[callers-1] {
		f.t.Errorf("callers got %v; want one ID for all", got)
	}
}
