package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/imagecontent"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// reportDoc is what a rebuild has changed.
type reportDoc struct {
	jobs.Rebuild
	Images []reportImage `json:"images"`
}

// reportImage is an image of a report.
type reportImage struct {
	jobs.RebuildImage
	// Packages are how what package managers have installed has changed, nil when that is
	// not known.
	Packages *imagecontent.Changes `json:"packages,omitempty"`
	// Unread are package databases that this version does not read, and why Packages is
	// not there.
	Unread []string `json:"unread,omitempty"`
}

func (a *app) rebuildReportCmd() *cobra.Command {
	format, packages := "", true
	cmd := &cobra.Command{
		Use: "report ID", Short: "Show what a rebuild has changed", Args: rebuildID, ValidArgsFunction: a.completeRebuilds,
		Long: `Show what a rebuild has changed: the digests of each image and of what it stands on, before
and after, and the packages that were added, removed or changed. The packages are read from
the layers of both images, at the registry, with the logins of docker login; the databases of
dpkg and apk are understood. --packages=false reads none.`,
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "markdown, json, jsonl, name or template=...")
	cmd.Flags().BoolVar(&packages, "packages", true, "read the packages of the images from their registries")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(a.stdout, format, "markdown")
		if err != nil {
			return err
		}
		ctx, stop := a.interruptible(cmd.Context())
		defer stop()
		r, err := a.rebuildOf(ctx, args[0])
		if err != nil {
			return err
		}
		doc := reportDoc{Rebuild: r.Rebuild}
		for _, img := range r.Images {
			doc.Images = append(doc.Images, reportImage{RebuildImage: img})
		}
		if packages {
			doc.readPackages(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if p.human() || p.kind == "markdown" {
			_, err := fmt.Fprint(a.stdout, doc.markdown())
			return err
		}
		return p.one(r.ID, doc)
	}
	return cmd
}

// packagesAtOnce is how many images are read at once: the registry is the slower part.
const packagesAtOnce = 4

// readPackages reads the packages of all images whose tags were moved.
func (d *reportDoc) readPackages(ctx context.Context) {
	var all sync.WaitGroup
	slots := make(chan struct{}, packagesAtOnce)
	for i := range d.Images {
		img := &d.Images[i]
		if len(img.Moves) == 0 || img.Moves[0].From == "" {
			continue
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			img.readPackages(ctx)
		})
	}
	all.Wait()
}

// readPackages compares the packages under the first tag; all tags have the same image.
func (img *reportImage) readPackages(ctx context.Context) {
	m := img.Moves[0]
	from, err := packagesOf(ctx, m.Tag, m.From)
	to := imagecontent.Inventory{}
	if err == nil {
		to, err = packagesOf(ctx, m.Tag, m.To)
	}
	if err != nil {
		img.Unread = append(img.Unread, err.Error())
		return
	}
	changes := imagecontent.Compare(from.Packages, to.Packages)
	img.Packages, img.Unread = &changes, to.Unread
}

func packagesOf(ctx context.Context, tag, digest string) (imagecontent.Inventory, error) {
	ref, err := name.NewDigest(imagename.Repository(imagename.Full(tag)) + "@" + digest)
	if err != nil {
		return imagecontent.Inventory{}, fmt.Errorf("read the packages of %s: %w", tag, err)
	}
	image, err := imagecontent.Get(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return imagecontent.Inventory{}, fmt.Errorf("read the packages of %s: %w", ref, err)
	}
	found, err := imagecontent.Packages(ctx, image)
	if err != nil {
		return found, fmt.Errorf("read the packages of %s: %w", ref, err)
	}
	return found, nil
}

// markdown is the report for people.
func (d *reportDoc) markdown() string {
	var b strings.Builder
	images := make([]jobs.RebuildImage, len(d.Images))
	for i, img := range d.Images {
		images[i] = img.RebuildImage
	}
	fmt.Fprintf(&b, "# Rebuild %s\n\n", d.ID)
	fmt.Fprintf(&b, "Asked for: `%s`, by %s, %s. It is %s", oneLine(d.Question), oneLine(cmp.Or(d.By, "unknown")), d.Created.Format(time.RFC3339), d.State)
	if !d.Ended.IsZero() {
		fmt.Fprintf(&b, " since %s", d.Ended.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, ". Images: %s.\n", countImages(images))
	if d.Why != "" {
		fmt.Fprintf(&b, "\nIts tags go back where they were, all or nothing: %s.\n", oneLine(d.Why))
	}
	for _, img := range d.Images {
		img.markdown(&b)
	}
	return b.String()
}

func (img *reportImage) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s", oneLine(img.Name), img.State)
	if img.Why != "" {
		fmt.Fprintf(b, ": %s", oneLine(img.Why))
	}
	fmt.Fprintf(b, ". Built because: %s.", oneLine(img.Because))
	if img.Job != "" {
		fmt.Fprintf(b, " Job: %s.", img.Job)
	}
	if !img.Promoted.IsZero() {
		by := "it stands on what it was built for"
		if img.Gated {
			by += ", and the gate let it pass"
		}
		fmt.Fprintf(b, " Tags moved %s: %s.", img.Promoted.Format(time.RFC3339), by)
	}
	b.WriteString("\n")
	if len(img.Moves)+len(img.Bases) > 0 {
		b.WriteString("\n| | before | after |\n|---|---|---|\n")
	}
	for _, m := range img.Moves {
		fmt.Fprintf(b, "| %s | %s | %s |\n", imagename.Familiar(m.Tag), cmp.Or(m.From, "none"), m.To)
	}
	for _, m := range img.Bases {
		fmt.Fprintf(b, "| on %s | %s | %s |\n", imagename.Familiar(m.Ref), cmp.Or(m.From, "not used"), cmp.Or(m.To, "not used"))
	}
	if img.Packages != nil {
		img.packages(b)
	}
	for _, u := range img.Unread {
		fmt.Fprintf(b, "\nNot read: %s\n", oneLine(u))
	}
}

// packages lists what has changed of the packages.
func (img *reportImage) packages(b *strings.Builder) {
	c := img.Packages
	if len(c.Added)+len(c.Removed)+len(c.Changed) == 0 {
		b.WriteString("\nNo package has changed.\n")
		return
	}
	b.WriteString("\n| package | before | after |\n|---|---|---|\n")
	for _, p := range c.Changed {
		fmt.Fprintf(b, "| %s | %s | %s |\n", oneLine(p.Name), oneLine(p.From), oneLine(p.To))
	}
	for _, p := range c.Added {
		fmt.Fprintf(b, "| %s | | %s |\n", oneLine(p.Name), oneLine(p.Version))
	}
	for _, p := range c.Removed {
		fmt.Fprintf(b, "| %s | %s | |\n", oneLine(p.Name), oneLine(p.Version))
	}
}
