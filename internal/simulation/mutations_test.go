package simulation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mutation takes one promise out of the source.
type mutation struct {
	name, file, old, changed string
	finds                    string // the invariant that breaks, or several of which one does
}

func mutations() []mutation {
	return []mutation{
		{
			"any nonce will do", "internal/jobs/jobstest/claims.go",
			`|| nonce == "" || r.job.Nonce != nonce {`, `{`, "I2",
		},
		{
			"a group takes all who are next", "internal/jobs/jobstest/groups.go",
			`if first && len(m.members(c.Group)) < c.Limit {`, `if first {`, "I15",
		},
		{
			"nothing is adopted", "internal/worker/recover.go",
			`w.adopt(bounded, job, entryOf(left, job))`, `error(nil)`, "I6",
		},
		{
			"no verdict is kept", "internal/worker/journal.go",
			"a.entry.Result, a.entry.Release = result, release\n\ta.write(true)", "a.entry.Result, a.entry.Release = result, release", "I6",
		},
		{
			"why a container is stopped is not kept", "internal/worker/journal.go",
			"a.moved(true, func(c journal.Container) journal.Container { return c.Stopping(r) })", `_ = r`, "I6 or I7",
		},
		{
			"what was told to end is followed as if it had not been", "internal/worker/resumetable.go",
			`endAsDecided, endAsDecided, stopAgain, readLastWords`, `endAsDecided, endAsDecided, follow, follow`, "I3 or I6 or I7",
		},
		{
			"a container that is there is given up", "internal/worker/resumetable.go",
			`journal.Started:  {callLost, start, follow, follow}`, `journal.Started:  {callLost, start, beginAnew, beginAnew}`, "I6",
		},
		{
			"jobs are handed back while they run", "internal/worker/conclude.go",
			"\ta.endContainer(ctx, errDrain)\n", "", "I3",
		},
		{
			"no attempt ends itself before its lease does", "internal/worker/options.go",
			`return o.Lease - 4*o.Renew`, `return 1000 * o.Lease`, "I3",
		},
		{
			"lost tickets stay lost", "internal/reconcile/reconcile.go",
			`return r.tickets.Push(ctx, t)
}

// overdue is`, `return nil
}

// overdue is`, "I1",
		},
		{
			"the reconciler does not look for what plain producers pushed", "internal/reconcile/reconcile.go",
			`more, err := r.tickets.Tidy(ctx, r.accept)`, `more, err := false, error(nil)`, "I1",
		},
		{
			"ends that another process counts are counted", "internal/reconcile/count.go",
			`if !mine {`, `if !mine && false {`, "I10",
		},
		{
			"ends whose acknowledgement is not answered are not counted", "internal/reconcile/count.go",
			"if err != nil {\n\t\treturn err\n\t}\n\tp :=", "if err != nil {\n\t\tr.uncounted = nil\n\t\treturn err\n\t}\n\tp :=", "I10",
		},
		{
			"recipes are acknowledged before they are learned", "internal/reconcile/learn.go",
			`		if err := r.learnPage(ctx, p); err != nil {
			return err
		}
		if mine, err := r.records.Acknowledge(ctx, recipesReader, r.nonce, p); err != nil || !mine {
			return err // another worker leads, or Redis has lost what the page ends with
		}`, `		if mine, err := r.records.Acknowledge(ctx, recipesReader, r.nonce, p); err != nil || !mine {
			return err
		}
		if err := r.learnPage(ctx, p); err != nil {
			return err
		}`, "I11",
		},
		{
			"a rollback leaves the recipe as it is", "internal/rebuild/promote.go",
			`if err := p.restore(ctx, img); err != nil {`, `if err := error(nil); err != nil {`, "I13",
		},
		{
			"what was done stays where all is wanted or nothing", "internal/rebuild/runner.go",
			`s.revertAll(givenUp(s.next))`, `_ = s`, "I12",
		},
		{
			"a loss is a retry of the user's", "internal/jobs/retry.go",
			`Spend: SpendLoss,`, `Spend: SpendRetry,`, "I6",
		},
		{
			"what a lost host runs is left alone", "internal/worker/others.go",
			`v, err := w.judgeOther(ctx, judge, c)`, `_, v, err := judge, strays.Verdict{}, error(nil)`, "I3",
		},
		{
			"a copy is taken for its original", "internal/seat/holder.go",
			`if v == others {`, `if v == others && false {`, "I3",
		},
		{
			"a probe that was cut short is left", "internal/worker/strays.go",
			"\tw.removeProbes(ctx, containers)\n", "", "I4",
		},
		{
			"services are not followed by the next worker", "internal/worker/kept.go",
			"s = w.newKept(job)\n\tw.followers.Go(s.run)", "s = w.newKept(job)", "I4", // their ends are the reconciler's by now; their spools stay
		},
		{
			"why a service is stopped is not kept", "internal/worker/kept.go",
			"s.ending = &why\n\t\t\ts.noteEnding()", "s.ending = &why", "I9",
		},
		{
			"the log of a service ends when it is ready", "internal/worker/kept.go",
			"s.end.Log, err = s.saveLog(ctx)\n\treturn err", "s.end.Log = s.job.Result.Log\n\treturn nil", "I8",
		},
		{
			"the log of a service is read again from its beginning", "internal/worker/kept.go",
			"s.joblog.Received(), s.joblog.Output()", "engine.Skip{}, s.joblog.Output()", "I8",
		},
		{
			"a host does not hear of its order", "internal/worker/orders.go",
			`if was := w.order.set(o, asked); !was.Same(o) {`, `if was := w.order.get(); asked.IsZero() {`, "I14",
		},
	}
}

// apply returns the file that changes, and what becomes of its content.
func (m mutation) apply(t *testing.T) (path, content string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has %d places of %q; the mutation needs one", m.file, n, m.old)
	}
	return path, strings.Replace(string(source), m.old, m.changed, 1)
}

// TestMutationsApply: a change of a line that a mutation needs should be noticed
// before the next campaign.
func TestMutationsApply(t *testing.T) {
	t.Parallel()
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) { m.apply(t) })
	}
}
