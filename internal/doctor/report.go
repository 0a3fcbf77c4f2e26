package doctor

import "fmt"

// Report is the result of an examination, as `worker doctor -o json` prints it. Checks
// is not nil, so that JSON has a list.
type Report struct {
	Failed int       `json:"failed"`
	Warned int       `json:"warned"`
	Checks []Finding `json:"checks"`
}

// Add counts a finding.
func (r *Report) Add(f Finding) {
	r.Checks = append(r.Checks, f)
	switch f.Status {
	case Fail:
		r.Failed++
	case Warn:
		r.Warned++
	}
}

// Err is an error when a check failed.
func (r *Report) Err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("this host is not fit for a worker: %d of %d checks failed", r.Failed, len(r.Checks))
}
