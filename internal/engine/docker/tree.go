package docker

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/versions"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/tree"
)

// treeSource is the source of a tree. It has not the name that frontends have for the
// context: one that knows nothing of inputs would ask for that, and leave files out by
// .dockerignore.
const treeSource = "slipway-context"

// loading has the daemon load the files of a tree into a workspace, for a build.
type loading struct {
	e    *Engine
	bk   *client.Client
	from *sources
	t    *trace
	def  *llb.Definition // of the workspace after a sync
}

// solveTree builds with the files of a tree as the context. It brings the daemon's workspace to
// what the tree is: the last sync for that is the build's own.
func (e *Engine) solveTree(ctx context.Context, bk *client.Client, opt client.SolveOpt, from *sources, t *trace) error {
	e.cli.NegotiateAPIVersion(ctx)
	timesDirs := !versions.LessThan(e.cli.ClientVersion(), "1.43") // the first with BuildKit 0.11
	plan, err := planOf(ctx, from.workspace, from.tree, timesDirs)
	if err != nil {
		return err
	}
	files := func(step string) llb.State {
		return llb.Local(treeSource, llb.SharedKeyHint(from.workspace.hint()), llb.WithCustomName(step))
	}
	def, err := files(loadStep).Marshal(ctx)
	if err != nil {
		return fmt.Errorf("describe the context: %w", err)
	}
	l := &loading{e, bk, from, t, def}
	views := plan.views()
	last := len(views) - 1
	step := loadStep
	if last > 0 {
		step = finishStep
	}
	for _, v := range views[:last] {
		if err := l.sync(ctx, v); err != nil {
			return err
		}
	}
	if opt.FrontendInputs == nil {
		opt.FrontendInputs = map[string]llb.State{}
	}
	opt.FrontendInputs["context"] = files(step)
	loaded, err := l.build(ctx, views[last], opt, step)
	if !loaded && last > 0 && from.heard() && ctx.Err() == nil {
		// The build had no need of the context. The next one may have, and the workspace is no tree yet.
		l.from, l.t = &sources{tree: from.tree, workspace: from.workspace}, newTrace(nil)
		if l.sync(ctx, views[last]) == nil {
			l.settle(ctx)
		}
	}
	return err
}

// sync brings the workspace to a view.
func (l *loading) sync(ctx context.Context, v view) error {
	l.from.show(v)
	// The daemon looks at a source once in a session.
	s, end, err := l.e.openSession(ctx, []session.Attachable{l.from})
	if err != nil {
		return err
	}
	defer end()
	opt := client.SolveOpt{
		SharedSession: s, SessionPreInitialized: true,
		LocalMounts: map[string]fsutil.FS{treeSource: oneFile{}}, // for the client's own check; the session has the tree
	}
	heard := func(*client.SolveStatus) bool { return l.from.heard() && v.count() > 0 } // else nothing is sent
	if err := solveHeard(ctx, l.bk, l.def, opt, l.t, heard); err != nil {
		return err
	}
	if !l.from.isSynced() {
		return errors.New("the daemon has not looked at the files of the context")
	}
	return nil
}

// build brings the workspace to a view in the course of a build, when that needs it, in a step
// of that name.
func (l *loading) build(ctx context.Context, v view, opt client.SolveOpt, step string) (loaded bool, err error) {
	l.from.show(v)
	done := false
	settle := sync.OnceFunc(func() { l.settle(ctx) })
	err = solveHeard(ctx, l.bk, nil, opt, l.t, func(s *client.SolveStatus) bool {
		done = done || slices.ContainsFunc(s.Vertexes, func(v *client.Vertex) bool {
			return v.Name == step && v.Completed != nil && v.Error == "" // a frontend gives it another digest
		})
		if done && l.from.isSynced() {
			settle() // not at the end: the worker may die before, or the build be called off
		}
		return l.from.heard()
	})
	loaded = l.from.isSynced()
	switch {
	case err != nil:
	case done && !loaded:
		return true, errForgotten // it has taken what was there, which is of the view before
	case loaded:
		settle()
	}
	return loaded || done, err
}

// settle notes that the workspace has the tree.
func (l *loading) settle(ctx context.Context) {
	if err := l.from.workspace.settle(); err != nil {
		l.e.lg.WarnContext(ctx, "what the daemon keeps of a context was not noted; the next build sends it whole", "err", err)
	}
}

// The syncs as users see them. The first is BuildKit's word.
const (
	loadStep   = "[internal] load build context"
	finishStep = "[internal] finish build context"
)

// sources serves what a build reads file by file.
type sources struct {
	tree      tree.Tree  // may be nil
	workspace *workspace // of the tree
	// others are all but the tree.
	others filesync.StaticDirSource

	mu     sync.Mutex
	view   view // of the tree, as the daemon is told of it now
	synced bool // the workspace is of this view
	total  engine.Sent
	broke  error // of the tree
	forgot bool  // the workspace is not what it was thought to be
}

var _ session.Attachable = (*sources)(nil)

// Register implements session.Attachable.
func (s *sources) Register(server *grpc.Server) { filesync.RegisterFileSyncServer(server, s) }

// show has the daemon be told of another view from now on.
func (s *sources) show(v view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view, s.synced = v, false
}

// isSynced reports whether the workspace is of the view that is shown.
func (s *sources) isSynced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

// heard tells whether what BuildKit says is to be shown: not when the build begins anew.
func (s *sources) heard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.forgot
}

// DiffCopy implements filesync.FileSyncServer.
func (s *sources) DiffCopy(stream filesync.FileSync_DiffCopyServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if name := md.Get("dir-name"); len(name) != 1 || name[0] != treeSource || s.tree == nil {
		return filesync.NewFSSyncProvider(s.others).(filesync.FileSyncServer).DiffCopy(stream)
	}
	if err := s.workspace.change(); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.broke = err
		return err
	}
	s.mu.Lock()
	y := newSyncing(stream, s.tree, s.view)
	s.mu.Unlock()
	err := y.run(stream.Context())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Files += y.sent.Files
	s.total.Bytes += y.sent.Bytes
	if s.synced = err == nil; s.synced {
		s.view.step = synced
	}
	s.forgot = s.forgot || y.forgot
	if s.broke == nil {
		s.broke = y.broke
	}
	return err
}

// result is what the daemon was sent of the tree, and the error of the build: the tree's own,
// if it has one.
func (s *sources) result(err error) (engine.Sent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Tree = s.tree != nil
	switch {
	case s.broke != nil:
		err = &treeError{s.broke}
	case s.forgot:
		err = errForgotten
	}
	return s.total, err
}

// treeError is an error of a tree, whatever the daemon made of it.
type treeError struct{ err error }

func (e *treeError) Error() string { return e.err.Error() }

// TarStream implements filesync.FileSyncServer; no BuildKit asks for it.
func (s *sources) TarStream(filesync.FileSync_TarStreamServer) error {
	return grpcstatus.Error(codes.Unimplemented, "there are no archives here")
}

// ignoredInputs tells whether a build failed because its frontend knows no other context than
// an archive or a directory of the client's.
func ignoredInputs(err error) bool {
	failed, ok := errors.AsType[*solveError](err)
	return ok && (strings.Contains(failed.Error(), "moby.buildkit.frontend.inputs") || strings.Contains(failed.Error(), `no access allowed to dir "context"`))
}

// timeOf is a time that stands for a content, in nanoseconds since 1970. BuildKit keeps what
// the build before has sent under the same name, and takes a file of the same size and time
// for the same file: it would build from a file of another job. Without the key, which no job
// ever sees, no content can be made that has the time of another one.
func timeOf(key []byte, content [sha256.Size]byte) int64 {
	mac := hmac.New(sha256.New, key)
	mac.Write(content[:])
	const from, years = int64(946684800e9), 1 << 59 // from 2000 on, 18 years: what all file systems have
	return from + int64(binary.BigEndian.Uint64(mac.Sum(nil))%years)
}
