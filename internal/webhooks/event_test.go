package webhooks_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// The largest job that the farm takes has an event that is not too large, and says that it
// is not all.
func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n, bytes int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("%s-%d", long(bytes), i))
		}
		return list
	}
	labels := map[string]string{}
	for _, key := range many(32, 60) {
		labels[key] = long(256)
	}
	for _, tt := range []struct {
		name      string
		spec      jobs.Spec
		result    jobs.Result
		truncated bool
		images    int
	}{
		{"small", jobs.Spec{Labels: map[string]string{"a": "b"}}, jobs.Result{RepoDigests: many(3, 100)}, false, 3},
		{"labels", jobs.Spec{Labels: labels}, jobs.Result{RepoDigests: many(64, 300)}, true, 64},
		{"everything", jobs.Spec{Labels: labels}, jobs.Result{
			RepoDigests: many(64, 300), Tags: many(64, 255), Addresses: many(64, 100), Failure: jobs.Fail(jobs.KindInternal, nil, "", "%s", long(100_000)),
		}, true, 16},
		{"one that is too long", jobs.Spec{}, jobs.Result{Tags: many(1, 30_000)}, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := newFarm(t, ci())
				tt.result.State = jobs.Failed
				f.end("job-1", tt.spec, tt.result)
				defer f.run()()
				time.Sleep(5 * time.Second) // the receiver checks how large it is
				if len(f.requests()) != 1 {
					t.Fatal("no event came")
				}
				raw, _ := json.Marshal(f.requests()[0].event["data"])
				var data struct {
					Images    []string
					Truncated bool
				}
				if err := json.Unmarshal(raw, &data); err != nil || data.Truncated != tt.truncated || len(data.Images) != tt.images {
					t.Errorf("%d images, truncated %t, %v; want %d, %t", len(data.Images), data.Truncated, err, tt.images, tt.truncated)
				}
			})
		})
	}
}
