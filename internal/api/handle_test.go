package api

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/slipway-farm/slipway/internal/access"
)

// An answer that breaks off looks like that to its client, also where its length is not said
// before; what breaks before it has begun is a problem; and both are in the trail.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	for _, tt := range []struct {
		name string
		do   func(*Server, *exchange) error
		want int // 0 for an answer that is cut off
	}{
		{"error at once", func(*Server, *exchange) error { return errors.New("broken") }, http.StatusInternalServerError},
		{"panic at once", func(*Server, *exchange) error { panic("broken") }, http.StatusInternalServerError},
		{"error within", func(_ *Server, x *exchange) error { _ = x.text("half of"); return errors.New("broken") }, 0},
		{"panic within", func(_ *Server, x *exchange) error { _ = x.text("half of"); panic("broken") }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			web := httptest.NewServer(f.server.handle(route{method: "POST", scope: access.Submit, do: tt.do}))
			defer web.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL+"/broken", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+f.tokens["submitter"])
			resp, err := web.Client().Do(req)
			status := 0
			if err == nil {
				defer resp.Body.Close()
				if _, err = io.ReadAll(resp.Body); err == nil {
					status = resp.StatusCode
				}
			}
			if status != tt.want {
				t.Errorf("the answer is %d (%v), want %d", status, err, tt.want)
			}
			deeds, err := f.db.Deeds(t.Context(), 1)
			if err != nil || len(deeds) != 1 || deeds[0].Action != "POST /broken" {
				t.Errorf("the trail has %+v (%v)", deeds, err)
			}
			if err := f.db.Record(t.Context(), access.Deed{Action: "between"}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A token that sends too much does not push out what is in the trail.
func TestTrailIsNotFlooded(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Rate, o.Burst = 0.01, 2 })
	for range 10 {
		f.send(request{method: "POST", path: "/v1/jobs?image=a", as: "submitter"})
	}
	if deeds, err := f.db.Deeds(t.Context(), 100); err != nil || len(deeds) != 2 {
		t.Errorf("the trail has %d entries (%v), want those of the 2 requests that were taken", len(deeds), err)
	}
}
