package pack

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// readDockerfile reads the Dockerfile at name, a path inside root. As in docker,
// a missing Dockerfile may be called dockerfile.
func readDockerfile(root *os.Root, name string) (artifacts.Dockerfile, error) {
	if strings.ContainsRune(name, 0) || !filepath.IsLocal(filepath.FromSlash(name)) || name == "." {
		return artifacts.Dockerfile{}, jobs.Fail(jobs.KindDockerfileOutside, nil, "give a path inside the directory, or submit a directory that holds it",
			"the Dockerfile %q is outside the directory", jobs.Clip(name))
	}
	content, err := readFile(root, name)
	if errors.Is(err, fs.ErrNotExist) && path.Base(name) == artifacts.DefaultDockerfile {
		lower := path.Join(path.Dir(name), strings.ToLower(artifacts.DefaultDockerfile))
		if content, err := readFile(root, lower); err == nil {
			return artifacts.Dockerfile{Name: lower, Content: content}, nil
		}
	}
	switch {
	case err == nil && len(content) > artifacts.MaxDockerfile:
		return artifacts.Dockerfile{}, artifacts.DockerfileTooLarge(name, int64(len(content)))
	case err == nil:
		return artifacts.Dockerfile{Name: name, Content: content}, nil
	case errors.Is(err, fs.ErrNotExist):
		top, more := listTop(root)
		return artifacts.Dockerfile{}, artifacts.DockerfileMissing(name, top, more)
	case escapes(err):
		return artifacts.Dockerfile{}, artifacts.DockerfileOutside(name, err)
	case errors.Is(err, errNotRegular):
		return artifacts.Dockerfile{}, artifacts.DockerfileNotRegular(name, errNotRegular.Error())
	}
	return artifacts.Dockerfile{}, jobs.Fail(jobs.KindDockerfileMissing, err, "name a readable file with -f", "the Dockerfile %q cannot be used: %s", jobs.Clip(name), reason(err))
}

// readFile reads a regular file, and no more of it than tells that it is too
// large for a Dockerfile.
func readFile(root *os.Root, name string) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, artifacts.MaxDockerfile+1))
}

// listTop names what is in the directory, for somebody who looks for a file.
func listTop(root *os.Root) (names []string, more bool) {
	entries, err := readDir(root)
	if err != nil {
		return nil, false
	}
	for _, e := range entries[:min(len(entries), artifacts.MaxTop)] {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	return names, len(entries) > artifacts.MaxTop
}
