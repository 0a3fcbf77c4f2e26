package doctor

import (
	"encoding/json"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	r := Report{Checks: []Finding{}}
	if text, err := json.Marshal(r); err != nil || string(text) != `{"failed":0,"warned":0,"checks":[]}` {
		t.Errorf("%s, %v; want a list without findings", text, err)
	}
	r.Add(Finding{Check: "a", Status: OK, Found: "fine"})
	r.Add(Finding{Check: "b", Status: Warn, Found: "slow", Advice: "wait"})
	if err := r.Err(); err != nil {
		t.Errorf("%v; want a warning to be no error", err)
	}
	r.Add(Finding{Check: "c", Status: Fail, Found: "gone"})
	const want = `{"failed":1,"warned":1,"checks":[{"check":"a","status":"OK","found":"fine"},` +
		`{"check":"b","status":"WARN","found":"slow","advice":"wait"},{"check":"c","status":"FAIL","found":"gone"}]}`
	if text, err := json.Marshal(r); err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
	if err := r.Err(); err == nil || err.Error() != "this host is not fit for a worker: 1 of 3 checks failed" {
		t.Errorf("%v; want the count of failed checks", err)
	}
}
