package pack

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// readDockerfile reads the Dockerfile at name, a path inside root. As in docker,
// a missing Dockerfile may be called dockerfile.
func readDockerfile(root *os.Root, name string) (dockerfile.File, error) {
	if strings.ContainsRune(name, 0) || !filepath.IsLocal(filepath.FromSlash(name)) || name == "." {
		return dockerfile.File{}, jobs.Fail(jobs.KindDockerfileOutside, nil, "give a path inside the directory, or submit a directory that holds it",
			"the Dockerfile %q is outside the directory", jobs.Clip(name))
	}
	content, err := readFile(root, name)
	if errors.Is(err, fs.ErrNotExist) && path.Base(name) == contexts.DefaultDockerfile {
		lower := path.Join(path.Dir(name), strings.ToLower(contexts.DefaultDockerfile))
		if content, err := readFile(root, lower); err == nil {
			return dockerfile.File{Name: lower, Content: content}, nil
		}
	}
	switch {
	case err == nil && len(content) > contexts.MaxDockerfile:
		return dockerfile.File{}, contexts.DockerfileTooLarge(name, int64(len(content)))
	case err == nil:
		return dockerfile.File{Name: name, Content: content}, nil
	case errors.Is(err, fs.ErrNotExist):
		top, more := listTop(root)
		return dockerfile.File{}, contexts.DockerfileMissing(name, top, more)
	case escapes(err):
		return dockerfile.File{}, contexts.DockerfileOutside(name, err)
	case errors.Is(err, errNotRegular):
		return dockerfile.File{}, contexts.DockerfileNotRegular(name, errNotRegular.Error())
	}
	return dockerfile.File{}, jobs.Fail(jobs.KindDockerfileMissing, err, "name a readable file with -f", "the Dockerfile %q cannot be used: %s", jobs.Clip(name), reason(err))
}

// inline is a Dockerfile that no file has.
func inline(content []byte) (dockerfile.File, error) {
	if len(content) > contexts.MaxDockerfile {
		return dockerfile.File{}, contexts.DockerfileTooLarge(contexts.DefaultDockerfile, int64(len(content)))
	}
	return dockerfile.File{Name: contexts.DefaultDockerfile, Content: content}, nil
}

// readFile reads a regular file, and no more of it than tells that it is too
// large for a Dockerfile.
func readFile(root *os.Root, name string) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, contexts.MaxDockerfile+1))
}

// listTop names what is in the directory, for a user who looks for a file.
func listTop(root *os.Root) (names []string, more bool) {
	entries, err := readDir(root)
	if err != nil {
		return nil, false
	}
	for _, e := range entries[:min(len(entries), contexts.MaxTop)] {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	return names, len(entries) > contexts.MaxTop
}
