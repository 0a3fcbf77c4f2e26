package jobstest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Options of a Memory; the zero value works.
type Options struct {
	// Now is the clock that Advance moves, time.Now when nil.
	Now func() time.Time
	// QueueTimeout is for jobs that name none; 0 means that they never expire.
	QueueTimeout time.Duration
	// TailBytes bounds the live log of each job; 0 keeps everything.
	TailBytes int
}

// Memory keeps jobs in memory. It implements jobs.Records, jobs.Claims, jobs.Hosts,
// jobs.Orders, jobs.Seats, jobs.Endings, jobs.Recipes, jobs.Rebuilds, jobs.Bases,
// jobs.Webhooks, jobs.HookCalls and jobs.DueCalls, and is safe for concurrent use.
type Memory struct {
	opts  Options
	clock *clock

	mu      sync.Mutex
	records map[string]*record
	order   []*record // as they were created
	keys    map[string]binding
	lines   map[string]map[string]bool // jobs that wait for a place in a group, and whether they were called
	hosts   map[string]jobs.Host
	orders  map[string]jobs.HostOrder // by the names of their hosts
	seats   map[string]jobs.Seat
	hints   map[chan string]struct{}
	broken  error
	leader  string // who reconciles, until leads
	leads   time.Time
	// promoter is who moves tags for rebuilds, until promotes.
	promoter string
	promotes time.Time
	ended    []ending         // in the order of the ends
	cursors  map[string]int64 // of the readers of ended
	recipes  map[string]jobs.Recipe
	// rebuilds are in the order in which they began.
	rebuilds []*rebuild
	bases    map[string]jobs.Base // by their names
	digests  map[string]keptDigest
	builds   map[string]keyedBuild
	watched  time.Time            // until when no turn at asking registries comes
	quiet    map[string]time.Time // until when registries are left alone
	tokens   map[string]access.Token
	trail    []access.Deed
	hooks    map[string]jobs.Webhook
	calls    *hookCalls
	changed  chan struct{} // closed and replaced by every change
}

var (
	_ jobs.Records  = (*Memory)(nil)
	_ jobs.Claims   = (*Memory)(nil)
	_ jobs.Hosts    = (*Memory)(nil)
	_ jobs.Orders   = (*Memory)(nil)
	_ jobs.Seats    = (*Memory)(nil)
	_ jobs.Endings  = (*Memory)(nil)
	_ jobs.Recipes  = (*Memory)(nil)
	_ jobs.Rebuilds = (*Memory)(nil)
	_ jobs.Bases    = (*Memory)(nil)
	_ jobs.Digests  = (*Memory)(nil)
	_ jobs.Builds   = (*Memory)(nil)

	_ jobs.Webhooks  = (*Memory)(nil)
	_ jobs.HookCalls = (*Memory)(nil)
	_ jobs.DueCalls  = (*Memory)(nil)
)

// record is what the memory knows of a job.
type record struct {
	job    jobs.Job
	at     int // index in Memory.order
	events []jobs.Event
	log    []jobs.LogChunk
	gone   int // chunks that fell off the front of log
	// acceptedFrom is the nonce whose result was taken, and under which a kept
	// service goes on.
	acceptedFrom string
	kept         bool
	stale        []jobs.Result
}

type binding struct{ id, digest string }

// NewMemory makes an empty store.
func NewMemory(opts Options) *Memory {
	return &Memory{
		opts:    opts,
		clock:   newClock(opts.Now),
		records: map[string]*record{},
		keys:    map[string]binding{},
		lines:   map[string]map[string]bool{},
		hosts:   map[string]jobs.Host{},
		orders:  map[string]jobs.HostOrder{},
		seats:   map[string]jobs.Seat{},
		hints:   map[chan string]struct{}{},
		cursors: map[string]int64{},
		recipes: map[string]jobs.Recipe{},
		bases:   map[string]jobs.Base{},
		digests: map[string]keptDigest{},
		builds:  map[string]keyedBuild{},
		quiet:   map[string]time.Time{},
		hooks:   map[string]jobs.Webhook{},
		calls:   newHookCalls(),
		changed: make(chan struct{}),
	}
}

// Now is Redis time.
func (m *Memory) Now(context.Context) (time.Time, error) { return m.clock.now(), nil }

// Advance moves Redis time forward, so that leases run out and waiting
// jobs become due.
func (m *Memory) Advance(d time.Duration) { m.clock.advance(d) }

// Break makes every call fail with err, as when the farm's Redis is away, until
// Break(nil). Calls that wait in Follow end with it too.
func (m *Memory) Break(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
	m.touch()
}

// Stale returns the results of a job that were set aside.
func (m *Memory) Stale(id string) []jobs.Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[id]; r != nil {
		return slices.Clone(r.stale)
	}
	return nil
}

// begin takes the lock unless the call cannot go on.
func (m *Memory) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	if m.broken != nil {
		defer m.mu.Unlock()
		return m.broken
	}
	return nil
}

// touch wakes all callers that wait in Follow. The caller holds the lock.
func (m *Memory) touch() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// event records what happened. The caller holds the lock.
func (m *Memory) event(r *record, typ jobs.EventType, text string) {
	r.events = append(r.events, jobs.Event{
		ID: fmt.Sprintf("%08d", len(r.events)+1), At: m.clock.now(), Type: typ, Text: text,
	})
	m.touch()
}

// hint tells the listeners of Cancellations; those who are busy miss it. The
// caller holds the lock.
func (m *Memory) hint(id string) {
	for ch := range m.hints {
		select {
		case ch <- id:
		default:
		}
	}
}

// end gives a job its accepted result: it is the one door through which a job ends.
// The caller holds the lock and sees to it that the table of moves allows the end.
func (m *Memory) end(r *record, res jobs.Result) {
	res = copyJSON(res)
	j := &r.job
	if !j.State.CanBecome(res.State) {
		panic(fmt.Sprintf("job %s is %s and ends as %q", j.ID, j.State, res.State))
	}
	r.acceptedFrom = j.Nonce
	j.State, j.Result, j.Finished = res.State, &res, m.clock.now()
	j.Nonce, j.Lease, j.NotBefore = "", time.Time{}, time.Time{}
	r.kept = !res.KeepUntil.IsZero()
	m.ended = append(m.ended, ending{j.ID, j.State, rand.Text()})
	m.event(r, jobs.EventFinished, string(res.State))
}

// view is the job as others may see it: a copy without the owner's nonce.
func (r *record) view() jobs.Job {
	j := r.owned()
	j.Nonce = ""
	return j
}

// owned is a copy of the job with the nonce, for its owner.
func (r *record) owned() jobs.Job {
	j := r.job
	j.Spec = copyJSON(j.Spec)
	if j.Result != nil {
		res := copyJSON(*j.Result)
		j.Result = &res
	}
	return j
}

// copyJSON is a deep copy by way of JSON, which is also how a real store keeps
// documents.
func copyJSON[T any](v T) T {
	var out T
	decode(encode(v), &out)
	return out
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err))
	}
	return raw
}

func decode(raw []byte, v any) {
	if err := json.Unmarshal(raw, v); err != nil {
		panic(fmt.Sprintf("unmarshal %T: %v", v, err))
	}
}
