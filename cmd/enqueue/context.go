package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

// source is where the context of a build comes from.
type source struct {
	kind sourceKind
	// arg is the argument as it was given.
	arg string
}

type sourceKind int

const (
	noSource sourceKind = iota
	fromDir
	fromTar   // a tar file on this machine
	fromStdin // a tar on stdin
	fromRef   // a reference that the worker opens
)

// findSource says what a PATH argument means. A reference is told from a path by its
// grammar: its scheme may be one that only the workers know. A file of that name that
// is there is what is meant.
func (a *app) findSource(arg string) (source, error) {
	if arg == "-" {
		if isTerminal(a.stdin) {
			return source{}, usage("pipe a tar into it: tar c . | enqueue submit -", "- reads a tar from stdin, and stdin is a terminal")
		}
		return source{fromStdin, arg}, nil
	}
	info, err := os.Stat(arg)
	_, _, reference := jobs.Context{Ref: arg}.Scheme()
	repository, isGit := parseGit(arg)
	switch {
	case err != nil && isGit:
		return source{}, repository.refuse()
	case err != nil && reference:
		return source{fromRef, arg}, nil
	case err == nil && info.IsDir():
		return source{fromDir, arg}, nil
	case err == nil && info.Mode().IsRegular():
		return source{fromTar, arg}, nil
	case err == nil:
		return source{}, usage("", "PATH %q is neither a directory nor a tar file", arg)
	case strings.Contains(arg, "://"):
		return source{}, usage("write it in lower-case letters, digits and + - . only, as in https://", "PATH %q is a reference of an impossible scheme", arg)
	default:
		return source{}, usage("give a directory, a tar file, - for stdin, or a reference", "PATH %q cannot be read: %v", arg, pathReason(err))
	}
}

// pathReason is the system's reason without the path, which the message has.
func pathReason(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// dockerfile translates -f, which is relative to the working directory as in
// docker, into a path inside the context.
func (s source) dockerfile(file string) (string, error) {
	if file == "" || s.kind != fromDir {
		return file, nil
	}
	if _, err := os.Stat(file); err != nil && filepath.IsLocal(file) {
		return filepath.ToSlash(file), nil // it may be inside; packing says so if not
	}
	dir, err := realPath(s.arg)
	if err != nil {
		return "", err
	}
	// The folder is resolved and the name kept, so that a link stays a link.
	parent, err := realPath(filepath.Dir(file))
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(dir, filepath.Join(parent, filepath.Base(file)))
	if err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel), nil
	}
	if filepath.IsLocal(file) {
		if _, err := os.Stat(filepath.Join(s.arg, file)); err == nil {
			return filepath.ToSlash(file), nil
		}
	}
	return "", usage("copy it into the directory, or submit a directory that holds both", "--file: %s is outside the context %s", file, s.arg)
}

func realPath(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", p, err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return "", usage("", "%s cannot be read: %v", p, pathReason(err))
	}
	return abs, nil
}

// placeholder is a reference for checking everything else before any work is
// done on the real context.
func (s source) placeholder() string {
	if s.kind == fromRef {
		return s.arg
	}
	return artifacts.Ref("sha256:" + strings.Repeat("0", 64))
}

// upload puts the context into the store and returns it with the path of the
// Dockerfile, which packing may find under another name.
func (s source) upload(ctx context.Context, store *artifacts.Blobs, stdin io.Reader, opts pack.UploadOptions) (pack.Uploaded, error) {
	switch s.kind {
	case fromDir:
		return pack.Upload(ctx, store, s.arg, opts)
	case fromStdin:
		return pack.UploadTar(ctx, store, local{stdin, "stdin"}, opts)
	default:
		f, err := os.Open(s.arg)
		if err != nil {
			return pack.Uploaded{}, usage("", "PATH %q cannot be read: %v", s.arg, pathReason(err))
		}
		defer f.Close() // only read
		return pack.UploadTar(ctx, store, local{f, fmt.Sprintf("PATH %q", s.arg)}, opts)
	}
}

// local is a tar of this machine: that it cannot be read is no failure of a farm.
type local struct {
	io.Reader
	name string
}

func (l local) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = jobs.Fail(jobs.KindContextInvalid, err, "give a directory, a tar file, or - for a tar on stdin", "%s cannot be read: %v", l.name, pathReason(err))
	}
	return n, err
}

// fullStore claims to have everything, so that a dry run learns the digest of a
// context and stores nothing.
type fullStore struct{ artifacts.Store }

// Stat implements artifacts.Store.
func (fullStore) Stat(_ context.Context, digest string) (artifacts.Info, error) {
	return artifacts.Info{Blob: artifacts.Blob{Digest: digest}}, nil
}

// Open implements artifacts.Store.
func (fullStore) Open(context.Context, string) (io.ReadCloser, error) {
	return nil, artifacts.ErrNotFound
}

// In implements artifacts.Store.
func (s fullStore) In(artifacts.Place) artifacts.Store { return s }

// amount is a size for people.
func amount(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// describeUpload says what was made of a context, and what is not in it.
func describeUpload(up pack.Uploaded) string {
	var parts []string
	if up.Report.Files > 0 {
		parts = append(parts, count(up.Report.Files, "file"))
	}
	sent := amount(up.Sent) + " sent"
	switch {
	case up.Had > 0:
		sent += fmt.Sprintf(", %s was in the store already", amount(up.Had))
	case up.Unchanged:
		sent = "unchanged since the last time and in the store already, nothing packed or sent"
	case up.Existed:
		sent = "in the store already, nothing sent"
	}
	if up.Unread > 0 {
		sent += fmt.Sprintf(", %s not read again", amount(up.Unread))
	}
	parts = append(parts, amount(up.Context.Size)+" ("+sent+")", up.Context.Digest)
	line := "context: " + strings.Join(parts, ", ")
	var out []string
	if up.Report.GitLeftOut {
		out = append(out, ".git (--keep-git sends it)")
	}
	if n := up.Report.Ignored; n > 0 {
		out = append(out, fmt.Sprintf("%d ignored", n))
	}
	if n := len(up.Report.Sockets); n > 0 {
		out = append(out, count(n, "socket"))
	}
	if len(out) > 0 {
		line += "; left out: " + strings.Join(out, ", ")
	}
	return line
}
