package buildlog

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// message is what BuildKit would send.
func message(t *testing.T, s client.SolveStatus) []byte {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestLines(t *testing.T) {
	t.Parallel()
	at := func(s float64) *time.Time {
		v := time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))).UTC()
		return &v
	}
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	messages := []client.SolveStatus{
		{Vertexes: []*client.Vertex{{Digest: a, Name: "[1/2] FROM busybox"}, {Digest: b, Name: "[2/2] RUN make"}}}, // not begun
		{Vertexes: []*client.Vertex{{Digest: a, Name: "[1/2] FROM busybox", Started: at(0), Completed: at(0), Cached: true}}},
		{Vertexes: []*client.Vertex{{Digest: b, Name: "[2/2] RUN make", Started: at(1)}}},
		{Logs: []*client.VertexLog{{Vertex: b, Data: []byte("one\ntw"), Timestamp: *at(1.5)}, {Vertex: c, Data: []byte("of no step\n"), Timestamp: *at(1.5)}}},
		{Logs: []*client.VertexLog{{Vertex: b, Data: []byte("o\n10%\r20%\r\n"), Timestamp: *at(2)}, nil}},
		{Statuses: []*client.VertexStatus{{ID: "transferring context: 2B", Vertex: b, Completed: at(2)}, {ID: "transferring context: 2B", Vertex: b, Completed: at(2)}}},
		{Logs: []*client.VertexLog{{Vertex: b, Data: []byte("the end"), Timestamp: *at(3)}}},
		{Warnings: []*client.VertexWarning{{Short: []byte("JSON arguments\x1b[31m recommended")}}},
		{Vertexes: []*client.Vertex{{Digest: b, Name: "[2/2] RUN make", Started: at(1), Completed: at(3.25), Error: "exit code: 2"}, nil}},
		{Vertexes: []*client.Vertex{{Digest: b, Name: "[2/2] RUN make", Started: at(1), Completed: at(3.25), Error: "exit code: 2"}}}, // again
	}
	var r Reader
	var got strings.Builder
	for _, m := range messages {
		got.WriteString(r.Lines(message(t, m)))
	}
	got.WriteString(r.Lines([]byte("no message")))
	want := `#1 [1/2] FROM busybox
#1 CACHED
#2 [2/2] RUN make
#2 0.500 one
#2 1.000 two
#2 1.000 20%
#2 transferring context: 2B done
WARNING: JSON arguments` + "\uFFFD" + `[31m recommended
#2 2.250 the end
#2 ERROR: exit code: 2
`
	if got.String() != want {
		t.Errorf("lines\n%s\nwant\n%s", got.String(), want)
	}
	steps := r.Steps()
	if len(steps) != 2 || !steps[0].Cached || steps[1].Error != "exit code: 2" || !steps[1].Started.Equal(*at(1)) || !steps[1].Completed.Equal(*at(3.25)) {
		t.Errorf("steps %+v", steps)
	}
}

// A step that never writes a newline does not fill the memory.
func TestLongLine(t *testing.T) {
	t.Parallel()
	var r Reader
	d := digest.FromString("a")
	now := time.Now()
	r.Lines(message(t, client.SolveStatus{Vertexes: []*client.Vertex{{Digest: d, Name: "a", Started: &now}}}))
	n := 0
	for range 3 {
		n += len(r.Lines(message(t, client.SolveStatus{Logs: []*client.VertexLog{{Vertex: d, Data: make([]byte, 512<<10)}}})))
	}
	if n < 1<<20 {
		t.Errorf("%d bytes came of 1.5 MiB without a newline", n)
	}
}

// A build of very many steps, each with a name, an error and a line without an end, leaves no
// more in memory than a reader may keep, and no output is lost. It is not parallel, for it measures the heap.
func TestHostileBuild(t *testing.T) {
	const perMessage = 50
	long := strings.Repeat("n", 1000)
	now := time.Now()
	var r Reader
	var lines, output int
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for n := 0; n < 2*maxSteps; n += perMessage {
		var st client.SolveStatus
		for i := range perMessage {
			d := digest.FromString(fmt.Sprint(n + i))
			st.Vertexes = append(st.Vertexes, &client.Vertex{Digest: d, Name: long, Started: &now, Error: long})
			st.Logs = append(st.Logs, &client.VertexLog{Vertex: d, Data: []byte(strings.Repeat("x", 1000)), Timestamp: now})
			for j := range 6 {
				st.Statuses = append(st.Statuses, &client.VertexStatus{ID: fmt.Sprint("layer ", j), Vertex: d, Completed: &now})
			}
		}
		out := r.Lines(message(t, st))
		lines += strings.Count(out, "\n")
		output += strings.Count(out, "x")
	}
	kept := func() int64 { return int64(heap()) - int64(before) }
	const most = 16 << 20
	if n := kept(); n > most {
		t.Errorf("%d bytes are kept, want %d at most", n, most)
	} else {
		t.Logf("%d bytes are kept", n)
	}
	for n := 0; n < maxSteps; n += perMessage {
		var st client.SolveStatus
		for i := range perMessage {
			st.Vertexes = append(st.Vertexes, &client.Vertex{Digest: digest.FromString(fmt.Sprint(n + i)), Started: &now, Completed: &now, Error: long})
		}
		output += strings.Count(r.Lines(message(t, st)), "x")
	}
	if n := kept(); n > most {
		t.Errorf("after the end %d bytes are kept, want %d at most", n, most)
	}
	if want := 2 * maxSteps * 1000; output < want || output > want+10 {
		t.Errorf("%d bytes of output came, want %d", output, want)
	}
	if len(r.Steps()) != maxSteps || lines < 2*maxSteps {
		t.Errorf("%d steps, %d lines", len(r.Steps()), lines)
	}
}
