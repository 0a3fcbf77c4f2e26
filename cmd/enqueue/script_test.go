package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/rebuild/rebuildtest"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

// TestScripts runs the verbs in testdata/script, each script on a farm of its
// own. Added commands:
//
//	enqueue ARG... [<FILE]   one run of the program; ! when it must not end with 0;
//	                         @FILE stands for the first line of a file
//	code N                   the exit code of the last enqueue
//	farm down|denied|up      break Redis, and mend it
//	farm marked FARM STORE   Redis remembers the farm's artifact store
//	host FILE                a worker tells the farm of its host
//	recipe FILE              a job leaves a recipe
//	built NAME               a worker builds the queued job of a recipe; ! it fails
//	reconciled               the farm moves rebuilds on, and their tags
//	published IMAGE DIGEST   a worker finds what a registry has
//	pass DURATION            the farm's clock goes on
//	called STATUS BODY       a worker calls what is due, and receivers answer that
//	pause QUEUE PRIORITY     an operator pauses a part of a queue; ! resumes it
func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, false, func(env *testscript.Env, _ *farm) { env.Setenv("SLIPWAY_STORE", filepath.Join(env.WorkDir, ".store")) })
}

// The verbs do the same over HTTP, where they see neither Redis nor the artifact store.
func TestScriptsOverHTTP(t *testing.T) {
	t.Parallel()
	runScripts(t, true, func(env *testscript.Env, f *farm) {
		env.Setenv("SLIPWAY_STORE", "/nonexistent/store")
		env.Setenv("SLIPWAY_REDIS", "redis://nowhere.invalid:6379")
		served := f.served()
		served.Blobs = artifacts.NewBlobs(f.store, env.WorkDir)
		app := newApp(process{getenv: func(string) string { return "" }})
		_ = app.reach(served)
		server := api.New(api.Options{
			Farm: served, Advance: app.move, Document: flags.FromParameters, Parameters: flags.Parameters(),
			Rate: 10_000, Burst: 10_000, UploadDir: filepath.Join(env.WorkDir, ".uploads"), Limits: contexts.NoLimits(),
		})
		listener := httptest.NewServer(server)
		env.Defer(func() {
			server.Close()
			listener.Close()
		})
		token, err := ownTokens{f.mem, f.mem}.MakeToken(context.Background(), access.Token{Name: app.whoami(), Scopes: access.Scopes()})
		if err != nil {
			t.Error(err)
		}
		env.Setenv("SLIPWAY_SERVER", listener.URL)
		env.Setenv("SLIPWAY_TOKEN", token.Text)
	})
}

// runScripts runs every script on a farm of its own, that connect makes known. The condition
// [http] is true in scripts that reach it over HTTP.
func runScripts(t *testing.T, overHTTP bool, connect func(env *testscript.Env, f *farm)) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Condition:           func(cond string) (bool, error) { return cond == "http" && overHTTP, nil },
		Setup: func(env *testscript.Env) error {
			store := filepath.Join(env.WorkDir, ".store")
			f, err := newFarm(t, store, farmOptions{paused: strings.HasSuffix(env.WorkDir, "_paused")})
			if err != nil {
				return err
			}
			env.Defer(f.close)
			env.Values[farmKey{}] = &scriptFarm{farm: f, images: rebuildtest.NewRegistry(nil)}
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
			connect(env, f)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"enqueue": scriptEnqueue, "code": scriptCode, "farm": scriptFarmDo,
			"host": scriptHost, "recipe": scriptRecipe, "built": scriptBuilt, "reconciled": scriptReconciled, "published": scriptPublished, "pass": scriptPass, "pause": scriptPause, "called": scriptCalled,
		},
	})
}

type farmKey struct{}

// scriptFarm is the farm of one script and the last exit code.
type scriptFarm struct {
	*farm
	code   int
	images *rebuildtest.Registry
}

func scriptEnqueue(ts *testscript.TestScript, neg bool, args []string) {
	f := ts.Value(farmKey{}).(*scriptFarm)
	var stdin io.Reader = strings.NewReader("")
	if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "<") {
		stdin = strings.NewReader(ts.ReadFile(args[n-1][1:]))
		args = args[:n-1]
	}
	for i, arg := range args {
		if file, ok := strings.CutPrefix(arg, "@"); ok {
			args[i], _, _ = strings.Cut(ts.ReadFile(file), "\n")
		}
	}
	p := process{getenv: ts.Getenv, stdin: stdin, stdout: ts.Stdout(), stderr: ts.Stderr()}
	app := newApp(p)
	if ts.Getenv("SLIPWAY_SERVER") == "" {
		app = f.app(p)
	}
	f.code = app.run(context.Background(), args)
	if (f.code != 0) != neg {
		ts.Fatalf("enqueue ended with %d", f.code)
	}
}

func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	f := ts.Value(farmKey{}).(*scriptFarm)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if (f.code == want) == neg {
		ts.Fatalf("enqueue ended with %d, want %d (neg %t)", f.code, want, neg)
	}
}

func scriptFarmDo(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value(farmKey{}).(*scriptFarm)
	switch args[0] {
	case "down":
		f.mem.Break(fmt.Errorf("%w: dial tcp 127.0.0.1:6379: connection refused", jobs.ErrUnreachable))
	case "denied":
		f.mem.Break(fmt.Errorf("%w: NOAUTH Authentication required", jobs.ErrUnreachable))
	case "up":
		f.mem.Break(nil)
	case "marked":
		f.registry = marked{Farm: args[1], Store: args[2]}
	default:
		ts.Fatalf("farm %s is not known", args[0])
	}
}

func scriptHost(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value(farmKey{}).(*scriptFarm)
	var h jobs.Host
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &h))
	ctx := context.Background()
	ts.Check(f.mem.Beat(ctx, h))
	for i := range h.Running { // these jobs are on record
		job := jobs.NewJob(fmt.Sprintf("%s-%d", h.Name, i), jobs.Spec{Run: &jobs.Run{Image: "a"}}.Normalize())
		_, err := f.mem.Create(ctx, []jobs.Job{job})
		ts.Check(err)
		_, err = f.mem.Claim(ctx, job.Ticket(), jobs.Owner{Worker: h.Worker, Host: h.Name, Nonce: "n", Lease: time.Hour, Offer: h.Offer()})
		ts.Check(err)
	}
}

func scriptRecipe(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value(farmKey{}).(*scriptFarm)
	var r jobs.Recipe
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &r))
	r.Made = time.Now().Add(-12*24*time.Hour - time.Minute)
	_, err := f.mem.Learn(context.Background(), r)
	ts.Check(err)
	for _, tag := range r.Tags {
		f.images.Push(tag, "sha256:old")
	}
}

func scriptBuilt(ts *testscript.TestScript, neg bool, args []string) {
	f, ctx := ts.Value(farmKey{}).(*scriptFarm), context.Background()
	queued, err := f.mem.List(ctx, jobs.Query{States: []jobs.State{jobs.Queued}, Name: args[0]})
	ts.Check(err)
	if len(queued.Jobs) != 1 {
		ts.Fatalf("%d jobs of %s are queued", len(queued.Jobs), args[0])
	}
	job, err := f.mem.Claim(ctx, queued.Jobs[0].Ticket(), jobs.Owner{Worker: "one", Host: "one", Nonce: "n", Lease: time.Hour})
	ts.Check(err)
	res := jobs.Result{State: jobs.Succeeded, Attempt: 1, Host: "one", ImageID: "sha256:new"}
	if neg {
		res.State, res.Failure = jobs.Failed, jobs.Fail(jobs.KindBuildFailed, nil, "", "step %q ended with exit code 2", "RUN make")
	}
	recipe, err := f.mem.Recipe(ctx, args[0])
	ts.Check(err)
	f.images.Build(job, recipe, &res)
	ts.Check(f.mem.Finish(ctx, job.ID, "n", res))
	scriptReconciled(ts, false, nil)
}

func scriptReconciled(ts *testscript.TestScript, _ bool, _ []string) {
	f, ctx := ts.Value(farmKey{}).(*scriptFarm), context.Background()
	svc := jobs.NewService(f.mem, f.queue, newID)
	var woken []string
	runner := rebuild.NewRunner(nil, f.mem, f.mem, svc, func(id string, _ []string) { woken = append(woken, id) })
	ts.Check(runner.AdvanceAll(ctx))
	for _, id := range woken {
		_, err := rebuild.NewPromoter(nil, f.mem, f.mem, svc, f.images, rebuild.PromoterOptions{Nonce: "one", Settle: 1}).Promote(ctx, id)
		ts.Check(err)
		ts.Check(runner.Advance(ctx, id))
	}
}

func scriptPublished(ts *testscript.TestScript, _ bool, args []string) {
	f, ctx := ts.Value(farmKey{}).(*scriptFarm), context.Background()
	b := jobs.Base{Ref: imagename.Full(args[0])}
	list, err := f.mem.Bases(ctx)
	ts.Check(err)
	for _, known := range list {
		if known.Ref == b.Ref {
			b = known
		}
	}
	ts.Check(f.mem.KeepBase(ctx, b.Found(args[1], nil, time.Now())))
}

func scriptPass(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value(farmKey{}).(*scriptFarm)
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	f.mem.Advance(d)
}

// answers is a receiver.
type answers func() *http.Response

func (a answers) RoundTrip(*http.Request) (*http.Response, error) { return a(), nil }

func scriptCalled(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value(farmKey{}).(*scriptFarm)
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	sender := webhooks.NewSender(func() webhooks.Rules { return webhooks.Rules{Schemes: []string{"https"}} }, func(string) ([]byte, error) {
		return []byte("whsec_" + strings.Repeat("QUFB", 8)), nil
	}, webhooks.SenderOptions{Transport: answers(func() *http.Response {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(args[1]))}
	})})
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	caller := webhooks.New(nil, webhooks.Deps{Endings: f.mem, Webhooks: f.mem, Calls: f.mem, Sender: sender}, webhooks.Options{Nonce: "one", Farm: "default", Every: time.Millisecond})
	all.Go(func() { caller.Run(ctx) })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		unread, err := f.mem.Ended(ctx, jobs.CallsReader, 1)
		ts.Check(err)
		calls, err := f.mem.Calls(ctx, "", 1000)
		ts.Check(err)
		if len(unread.Jobs) == 0 && !slices.ContainsFunc(calls, func(c jobs.HookCall) bool { return c.State == jobs.CallDue && c.Tries == 0 }) {
			break
		}
		if time.Now().After(deadline) {
			ts.Fatalf("calls are due still: %+v", calls)
		}
	}
	stop()
	all.Wait()
}

func scriptPause(ts *testscript.TestScript, neg bool, args []string) {
	f := ts.Value(farmKey{}).(*scriptFarm)
	if neg {
		f.queue.Resume(args[0], jobs.Priority(args[1]))
		return
	}
	f.queue.Pause(args[0], jobs.Priority(args[1]))
}
