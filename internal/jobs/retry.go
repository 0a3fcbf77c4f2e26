package jobs

import "time"

// MaxLosses is how many infrastructure losses in a row make a job poisoned.
const MaxLosses = 3

// Decision is what follows from an attempt's result.
type Decision struct {
	// Final results are reported with Claims.Finish, others give the job up
	// with Claims.Release.
	Final   bool
	Result  Result
	Release Release
}

// Decide says what becomes of a job whose attempt ended with r. User faults
// are tried again while the job's own retries last; infrastructure faults are
// tried again without touching them, until MaxLosses in a row.
func Decide(j Job, r Result) Decision {
	if r.Failure == nil {
		return Decision{Final: true, Result: r}
	}
	info := r.Failure.Kind.Info()
	r.State = info.State
	switch {
	case !info.Retryable:
		return Decision{Final: true, Result: r}
	case info.Fault == InfraFault && j.Losses+1 < MaxLosses:
		return Decision{Result: r, Release: Release{
			Reason: r.Failure.Message, Spend: SpendLoss, Delay: lossDelay(j.Losses, *r.Failure), Past: r.Past(),
		}}
	case info.Fault == UserFault && j.Retries < j.Spec.Retries:
		return Decision{Result: r, Release: Release{
			Reason: r.Failure.Message, Spend: SpendRetry, Delay: min(time.Second<<j.Retries, time.Minute), Past: r.Past(),
		}}
	case info.Fault == InfraFault:
		f := *r.Failure
		f.Hint = "the farm gave up after " + times(j.Losses+1) + ", the last one " + string(f.Kind) + "; ask the operator"
		f.Kind = KindPoisoned
		r.Failure = &f
	}
	return Decision{Final: true, Result: r}
}

// lossDelay is how long a job waits after so many losses before this one. A worker
// that went says nothing against its job or any daemon. A registry needs longer to
// be well again, and may say for how long.
func lossDelay(before int, f Failure) time.Duration {
	switch {
	case before == 0 && f.Kind == KindWorkerLost:
		return 0
	case f.Kind == KindRegistryUnavailable && before == 0:
		return max(10*time.Second, f.After)
	case f.Kind == KindRegistryUnavailable:
		return max(time.Minute, f.After)
	}
	return time.Second << before
}

func times(n int) string {
	if n == 1 {
		return "one loss"
	}
	return []string{"no", "one", "two", "three"}[min(n, 3)] + " losses in a row"
}
