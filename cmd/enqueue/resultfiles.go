package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// resultFiles are those that a submission leaves of an image, as docker build does.
type resultFiles struct{ iid, metadata string }

// newResultFiles checks what can be known before. What an earlier build left is removed, as
// docker does: after a build that fails there is no file.
func newResultFiles(o *flags.Options) (resultFiles, error) {
	r := resultFiles{o.IIDFile, o.MetadataFile}
	for flag, path := range map[string]string{"--iidfile": r.iid, "--metadata-file": r.metadata} {
		switch {
		case path == "":
		case o.Detach || o.DryRun:
			return r, usage("leave it out, or follow the job", "%s is written when the image is built: it goes with neither --detach nor --dry-run", flag)
		default:
			if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
				return r, usage("make it first", "%s: there is no directory %s", flag, filepath.Dir(path))
			}
			if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
				return r, usage("", "%s: %s is no file", flag, path)
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return r, usage("", "%s: %s cannot be written: %v", flag, path, pathReason(err))
			}
		}
	}
	return r, nil
}

// write writes them for a job that has built an image, even when its run has failed.
func (r resultFiles) write(j jobs.Job) error {
	if j.Result == nil || j.Result.ImageID == "" {
		return nil
	}
	if r.iid != "" {
		if err := writeResult(r.iid, []byte(j.Result.ImageID)); err != nil {
			return err
		}
	}
	if r.metadata == "" {
		return nil
	}
	doc, err := json.MarshalIndent(imageMetadata(j), "", "  ")
	if err != nil {
		return fmt.Errorf("encode the metadata: %w", err)
	}
	return writeResult(r.metadata, append(doc, '\n'))
}

// imageMetadata has the keys of docker buildx build --metadata-file, and the job's. The digest
// is what the registry has; without a push it is the image's ID, as buildx has it of a daemon.
func imageMetadata(j jobs.Job) map[string]string {
	doc := map[string]string{"containerimage.digest": j.Result.ImageID, "slipway.job.id": j.ID, "slipway.image.id": j.Result.ImageID}
	if len(j.Result.Tags) > 0 {
		doc["image.name"] = strings.Join(j.Result.Tags, ",")
	}
	if len(j.Result.RepoDigests) > 0 {
		_, doc["containerimage.digest"], _ = strings.Cut(j.Result.RepoDigests[0], "@")
	}
	return doc
}

// writeResult makes a file that others may read, as the umask has it.
func writeResult(path string, data []byte) error {
	tmp := path + atomicfile.Unfinished
	err := os.WriteFile(tmp, data, 0o666)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp) // it may not be there
		return failure{code: jobs.ExitFailed, what: fmt.Sprintf("%s cannot be written: %v", path, pathReason(err)), hint: "the image is built: enqueue result has its ID"}
	}
	return nil
}
