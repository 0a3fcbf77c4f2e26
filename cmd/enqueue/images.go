package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// imageScan is how many jobs are looked at for images, at most.
const imageScan = 10_000

// builtImage is a name that a job gave to the image that it built.
type builtImage struct {
	// Name is "" for an image that got none.
	Name    string `json:"name,omitempty"`
	ImageID string `json:"image_id"`
	// Size in bytes, with what it shares with others; 0 when it is not known.
	Size int64 `json:"size,omitempty"`
	// RepoDigest is what the registry has, "" when the image was not pushed under this name.
	RepoDigest string    `json:"repo_digest,omitempty"`
	Built      time.Time `json:"built"`
	// Worker and Host built it, for Job.
	Worker string `json:"worker"`
	Host   string `json:"host"`
	Job    string `json:"job"`
}

func (a *app) imagesCmd() *cobra.Command {
	var format string
	var limit int
	var all, quiet bool
	f := filters{}
	cmd := &cobra.Command{
		Use: "images [NAME...]", Short: "List the images that jobs have built, where, and how large they are",
		Long: `List the images that jobs have built, the newest first: for each name the image that got it last.
An image is on the host of the worker that built it, until that host makes room; one with a digest
is in its registry, too. NAME is the name of an image, with or without its tag.`,
	}
	fs := cmd.Flags()
	fs.IntVar(&limit, "limit", 50, "how many images")
	fs.BoolVarP(&all, "all", "a", false, "also images that have lost their names to newer ones")
	fs.BoolVarP(&quiet, "quiet", "q", false, "IDs only, as -o name")
	fs.StringVarP(&format, "output", "o", "", "table, wide, json, jsonl, name or template=...")
	f.declareBuilt(cmd, a)
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		switch {
		case quiet && format != "":
			return usage("leave one of them out", "--quiet and --output")
		case quiet:
			format = "name"
		case limit < 1:
			return usage("", "--limit: found %d; want 1 or more", limit)
		}
		p, err := newPrinter(a.stdout, format, "table", "wide")
		if err != nil {
			return err
		}
		q, err := a.selected(cmd.Context(), f)
		if err != nil {
			return err
		}
		found, err := a.builtImages(cmd.Context(), q, names, all, limit)
		if err != nil {
			return err
		}
		if p.human() {
			return a.imageTable(found, p.kind == "wide")
		}
		return printAll(p, "images", found, func(i builtImage) string { return i.ImageID })
	}
	return cmd
}

// builtImages looks through the jobs that succeeded until it has limit images.
func (a *app) builtImages(ctx context.Context, q jobs.Query, names []string, all bool, limit int) (found []builtImage, err error) {
	q.States = []jobs.State{jobs.Succeeded}
	seen := map[string]bool{}
	for looked := 0; looked < imageScan; {
		list, next, err := a.list(ctx, q, 200)
		if err != nil {
			return nil, err
		}
		looked += len(list)
		for _, j := range list {
			for _, img := range imagesOf(j) {
				if seen[img.Name] && img.Name != "" && !all || !isWanted(img.Name, names) {
					continue
				}
				seen[img.Name] = true
				if found = append(found, img); len(found) == limit {
					return found, nil
				}
			}
		}
		if q.PageToken = next; next == "" {
			return found, nil
		}
	}
	fmt.Fprintf(a.stderr, "These are the images of the newest %d jobs that succeeded; --until looks at older ones.\n", imageScan)
	return found, nil
}

// imagesOf are the images of a job that built: one for each name, or one without.
func imagesOf(j jobs.Job) (all []builtImage) {
	r := j.Result
	if j.Spec.Build == nil || r == nil || r.ImageID == "" {
		return nil
	}
	img := builtImage{ImageID: r.ImageID, Size: r.ImageSize, Built: j.Finished, Worker: r.Worker, Host: r.Host, Job: j.ID}
	for i, tag := range r.Tags {
		img.Name, img.RepoDigest = tag, ""
		if j.Spec.Build.Push && i < len(r.RepoDigests) {
			img.RepoDigest = r.RepoDigests[i]
		}
		all = append(all, img)
	}
	if len(all) == 0 {
		all = append(all, img)
	}
	return all
}

// isWanted reports whether an image is one of those that were asked for, with or without their tags.
func isWanted(name string, names []string) bool {
	return len(names) == 0 || slices.ContainsFunc(names, func(n string) bool {
		rest, begins := strings.CutPrefix(name, n)
		return begins && (rest == "" || rest[0] == ':' && !strings.Contains(rest, "/"))
	})
}

func (a *app) imageTable(found []builtImage, wide bool) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No job that the farm remembers has built such an image.")
		return err
	}
	rows := [][]string{{"JOB", "IMAGE", "ID", "SIZE", "BUILT", "WORKER", "PUSHED"}}
	for _, img := range found {
		id, size, digest := img.ImageID, "", "no"
		if img.Size > 0 {
			size = amount(img.Size)
		}
		if _, d, pushed := strings.Cut(img.RepoDigest, "@"); pushed {
			digest = d
		}
		if !wide {
			id, digest = beginning(id), beginning(digest)
		}
		rows = append(rows, []string{img.Job, oneLine(cmp.Or(img.Name, "(no name)")), id, size, jobs.Age(time.Since(img.Built)), oneLine(img.Worker), digest})
	}
	width := terminalWidth(a.stdout)
	if wide {
		width = 0
	}
	return writeTable(a.stdout, rows, width, a.ascii())
}

// beginning is as much of a digest as docker shows.
func beginning(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return hex[:min(len(hex), 12)]
}
