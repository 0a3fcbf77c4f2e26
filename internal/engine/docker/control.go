package docker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"path"
	"strings"

	dockerbuild "github.com/docker/docker/api/types/build"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// hiddenSource is what the frontend calls where the Dockerfile comes from.
const hiddenSource = "dockerfile"

// buildControl builds from a Dockerfile that is not in the context, through
// BuildKit's own interface in the daemon: the daemon's build request has no way
// to say so. The context takes about an eighth longer to get there this way.
func (e *Engine) buildControl(ctx context.Context, body io.Reader, dockerfile []byte, opts dockerbuild.ImageBuildOptions, attachables []session.Attachable, t *trace) error {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return e.cli.DialHijack(ctx, "/grpc", "h2c", nil)
	}
	bk, err := client.New(ctx, "", client.WithContextDialer(dial), client.WithSessionDialer(e.dialSession))
	if err != nil {
		return err
	}
	defer bk.Close()
	upload := uploadprovider.New()
	attrs := frontendAttrs(opts)
	attrs["context"] = upload.Add(io.NopCloser(body))
	attrs["dockerfilekey"] = hiddenSource
	file := filesync.NewFSSyncProvider(filesync.StaticDirSource{hiddenSource: newOneFile(attrs["filename"], dockerfile)})
	solve := client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: attrs, Session: append(attachables, upload, file),
		Exports: []client.ExportEntry{{Type: "moby", Attrs: map[string]string{}}},
	}
	if len(opts.Tags) > 0 {
		solve.Exports[0].Attrs["name"] = strings.Join(opts.Tags, ",")
	}
	for _, ref := range opts.CacheFrom {
		solve.CacheImports = append(solve.CacheImports, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ref}})
	}
	told, done := make(chan *client.SolveStatus), make(chan error)
	go func() {
		var failed error
		for s := range told {
			if err := t.add(s); err != nil && failed == nil {
				failed = err
			}
		}
		done <- failed
	}()
	answer, err := bk.Solve(ctx, nil, solve, told)
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

// frontendAttrs says to BuildKit's frontend what the daemon makes of a build
// request.
func frontendAttrs(o dockerbuild.ImageBuildOptions) map[string]string {
	attrs := map[string]string{"filename": o.Dockerfile}
	set := func(key, value string) {
		if value != "" {
			attrs[key] = value
		}
	}
	set("target", o.Target)
	set("platform", o.Platform)
	if o.NetworkMode != "default" {
		set("force-network-mode", o.NetworkMode)
	}
	if o.NoCache {
		attrs["no-cache"] = ""
	}
	attrs["image-resolve-mode"] = "default"
	if o.PullParent {
		attrs["image-resolve-mode"] = "pull"
	}
	for k, v := range o.BuildArgs {
		attrs["build-arg:"+k] = *v
	}
	for k, v := range o.Labels {
		attrs["label:"+k] = v
	}
	return attrs
}

// oneFile is a file system with one file in it.
type oneFile struct {
	entries []*types.Stat // the directories that lead there, then the file
	content []byte
}

func newOneFile(name string, content []byte) fsutil.FS {
	f := oneFile{content: content}
	name = path.Clean(name)
	for i, c := range name {
		if c == '/' {
			f.entries = append(f.entries, &types.Stat{Path: name[:i], Mode: uint32(fs.ModeDir | 0o755)})
		}
	}
	f.entries = append(f.entries, &types.Stat{Path: name, Mode: 0o644, Size: int64(len(content))})
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
