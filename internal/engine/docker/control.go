package docker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// hiddenSource is what the frontend calls where the Dockerfile comes from.
const hiddenSource = "dockerfile"

// dialControl connects to BuildKit's own interface in the daemon.
func (e *Engine) dialControl(ctx context.Context) (*client.Client, error) {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return e.cli.DialHijack(ctx, "/grpc", "h2c", nil)
	}
	return client.New(ctx, "", client.WithContextDialer(dial), client.WithSessionDialer(e.dialSession))
}

// buildControl builds through BuildKit's own interface in the daemon. It can say
// what the daemon's build request cannot: a Dockerfile that is not in the
// context, bases that are on the host, limits of steps.
//
// sent is what the daemon was sent of a tree.
func (e *Engine) buildControl(ctx context.Context, body io.Reader, b engine.Build, how way, attachables []session.Attachable, t *trace) (sent engine.Sent, err error) {
	bk, err := e.dialControl(ctx)
	if err != nil {
		return sent, err
	}
	defer bk.Close()
	opt, upload := optionsOf(b).solve, uploadprovider.New()
	attrs, from := opt.FrontendAttrs, &sources{tree: b.Tree}
	if b.Tree == nil {
		attrs["context"] = upload.Add(chunked{body})
	}
	for name, tar := range b.Contexts {
		nameContext(&opt, name, upload.Add(chunked{tar}))
	}
	if b.Dockerfile != nil {
		attrs["dockerfilekey"] = hiddenSource
		from.others = filesync.StaticDirSource{hiddenSource: newOneFile(attrs["filename"], b.Dockerfile, e.contentKey)}
	}
	opt.Session = append(attachables, upload, from)
	if how.limits {
		limitAttrs(attrs, b.Limits)
	}
	if b.Tree == nil {
		return sent, solve(ctx, bk, nil, opt, t)
	}
	from.workspace = e.workspaces.take(b.Recipe)
	defer from.workspace.release()
	return from.result(e.solveTree(ctx, bk, opt, from, t))
}

// nameContext has a name in the Dockerfile stand for the files of the tar behind a URL. The
// frontend unpacks the context itself in the same way, and has none for a second tar.
func nameContext(opt *client.SolveOpt, name, url string) {
	const file = "context"
	archive := llb.HTTP(url, llb.Filename(file), llb.WithCustomName("[context "+name+"] load"))
	files := llb.Scratch().File(llb.Copy(archive, "/"+file, "/", &llb.CopyInfo{AttemptUnpack: true}), llb.WithCustomName("[context "+name+"] unpack"))
	if opt.FrontendInputs == nil {
		opt.FrontendInputs = map[string]llb.State{}
	}
	opt.FrontendInputs[name] = files
	opt.FrontendAttrs["context:"+name] = "input:" + name
	// A frontend that is named in the Dockerfile and knows of no such contexts says so.
	opt.FrontendAttrs["frontend.caps"] = "moby.buildkit.frontend.contexts+forward"
}

// solve has BuildKit do what a frontend or a definition says.
func solve(ctx context.Context, bk *client.Client, def *llb.Definition, opt client.SolveOpt, t *trace) error {
	return solveHeard(ctx, bk, def, opt, t, func(*client.SolveStatus) bool { return true })
}

// solveHeard is solve of which heard is told all that BuildKit tells, and whether the trace is, too.
func solveHeard(ctx context.Context, bk *client.Client, def *llb.Definition, opt client.SolveOpt, t *trace, heard func(*client.SolveStatus) bool) error {
	told, done := make(chan *client.SolveStatus), make(chan error)
	go func() {
		var failed error
		for s := range told {
			if !heard(s) {
				continue
			}
			if err := t.add(s); err != nil && failed == nil {
				failed = err
			}
		}
		done <- failed
	}()
	answer, err := bk.Solve(ctx, def, opt, told)
	if failed := <-done; err == nil {
		err = failed
	}
	if err != nil {
		if code := grpcstatus.Code(err); code == codes.Unavailable || code == codes.Canceled {
			return daemonLost(err)
		}
		return &solveError{err.Error()}
	}
	t.imageID = answer.ExporterResponse[exptypes.ExporterImageDigestKey]
	return nil
}

// toImage makes the result an image of the daemon, with these names.
func toImage(names string) []client.ExportEntry {
	return []client.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": names}}}
}

// chunked hands a reader on in large pieces: each is a message to the daemon.
type chunked struct{ io.Reader }

// Close implements io.Closer; the reader is its owner's.
func (chunked) Close() error { return nil }

// WriteTo implements io.WriterTo, which io.Copy looks for.
func (c chunked) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{c.Reader}, make([]byte, 1<<20))
}

// limitAttrs says to the frontend how each step is bounded. The period is the
// kernel's usual one, in microseconds.
func limitAttrs(attrs map[string]string, l jobs.Limits) {
	const period = 100_000
	if l.Memory > 0 {
		attrs["memory"] = strconv.FormatInt(int64(l.Memory), 10)
		attrs["memswap"] = attrs["memory"] // the same bound for both means no swap
	}
	if l.CPUs > 0 {
		attrs["cpuperiod"] = strconv.Itoa(period)
		attrs["cpuquota"] = strconv.FormatInt(int64(l.CPUs*period), 10)
	}
}

// boundsSteps reports whether the daemon bounds the steps of builds: BuildKit 0.31
// and later do. Older ones take the wish and ignore it.
func (e *Engine) boundsSteps(ctx context.Context) bool {
	bk, err := e.dialControl(ctx)
	if err != nil {
		return false
	}
	defer bk.Close()
	info, err := bk.Info(ctx)
	if err != nil {
		return false // it has no such question: older than 0.11
	}
	var major, minor int
	_, err = fmt.Sscanf(strings.TrimPrefix(info.BuildkitVersion.Version, "v"), "%d.%d", &major, &minor)
	return err == nil && (major > 0 || minor >= 31)
}

// oneFile is a file system with one file in it.
type oneFile struct {
	entries []*types.Stat // the directories that lead there, then the file
	content []byte
}

func newOneFile(name string, content, key []byte) fsutil.FS {
	f := oneFile{content: content}
	name = path.Clean(name)
	for i, c := range name {
		if c == '/' {
			f.entries = append(f.entries, &types.Stat{Path: name[:i], Mode: uint32(fs.ModeDir | 0o755)})
		}
	}
	f.entries = append(f.entries, &types.Stat{Path: name, Mode: 0o644, Size: int64(len(content)), ModTime: timeOf(key, sha256.Sum256(content))})
	return f
}

// Walk implements fsutil.FS: it visits target and what is below it.
func (f oneFile) Walk(_ context.Context, target string, visit fs.WalkDirFunc) error {
	target = strings.Trim(path.Clean("/"+target), "/")
	for _, e := range f.entries {
		if target != "" && e.Path != target && !strings.HasPrefix(e.Path, target+"/") {
			continue
		}
		// There is one way down: who skips a directory skips all that is left.
		if err := visit(e.Path, &fsutil.DirEntryInfo{Stat: e}, nil); errors.Is(err, fs.SkipDir) || errors.Is(err, fs.SkipAll) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Open implements fsutil.FS.
func (f oneFile) Open(name string) (io.ReadCloser, error) {
	if last := f.entries[len(f.entries)-1]; path.Clean(name) != last.Path {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(bytes.NewReader(f.content)), nil
}
