// Package provenance says how an image was built: an in-toto statement with the predicate
// of SLSA, signed or not. A worker attaches one to each image that it pushes, and enqueue
// reads and verifies it.
package provenance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// What a statement of this farm says of itself. The first two are those of the
// specifications: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
// and https://slsa.dev/spec/v1.0/provenance. BuildType says what the parameters mean.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://slsa.dev/provenance/v1"
	BuildType     = project + "/build/v1"

	project = "https://github.com/slipway-farm/slipway"
)

// Statement is an in-toto statement on images, version 1.
//
// The types of github.com/in-toto/attestation are protobuf's, whose JSON is another one
// each time; those of in-toto-golang are deprecated. A test reads these with the former.
type Statement struct {
	Type string `json:"_type"`
	// Subject are the images, one for each repository.
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     Predicate  `json:"predicate"`
}

// Resource is an image or an archive.
type Resource struct {
	Name string `json:"name,omitempty"`
	URI  string `json:"uri,omitempty"`
	// Digest has hex digits by algorithm.
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Predicate is SLSA's build provenance.
type Predicate struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// BuildDefinition is what was built, and from what.
type BuildDefinition struct {
	BuildType string `json:"buildType"`
	// ExternalParameters are what the job asked for, InternalParameters what the farm
	// did it with.
	ExternalParameters ExternalParameters `json:"externalParameters"`
	InternalParameters InternalParameters `json:"internalParameters"`
	// ResolvedDependencies are the context, and the images that the build used.
	ResolvedDependencies []Resource `json:"resolvedDependencies,omitempty"`
}

// ExternalParameters are the parts of the job's document that say what to build. Secrets
// are names there; the values never travel.
type ExternalParameters struct {
	// Context has a reference without what may be a signature.
	Context *jobs.Context `json:"context,omitempty"`
	Build   *jobs.Build   `json:"build,omitempty"`
}

// InternalParameters are what the farm chose.
type InternalParameters struct {
	// Engine is the name and version of what built it.
	Engine string `json:"engine,omitempty"`
}

// RunDetails are who built it, and when.
type RunDetails struct {
	Builder  Builder  `json:"builder"`
	Metadata Metadata `json:"metadata"`
}

// Builder is who says all this.
type Builder struct {
	// ID is a URI with the farm's name and the host's ID.
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// Metadata are of the attempt that built it; the times are Redis time.
type Metadata struct {
	InvocationID string    `json:"invocationId"`
	StartedOn    time.Time `json:"startedOn,omitzero"`
	FinishedOn   time.Time `json:"finishedOn,omitzero"`
}

// Build is what a statement is made of.
type Build struct {
	Job jobs.Job
	// Result has the pushed images, what they were built from, and where.
	Result jobs.Result
	// Farm is the farm's name, Version that of the worker's program.
	Farm, Version string
	// Began and Ended bound the attempt, up to the end of its build.
	Began, Ended time.Time
}

// New makes the statement of a build. The same build has the same statement. It names who
// built the image: not the job that took it over.
func New(b Build) Statement {
	by := jobs.BuiltBy{Job: b.Job.ID, Attempt: b.Result.Attempt, Host: b.Result.Host, Engine: b.Result.Engine, Began: b.Began, Ended: b.Ended}
	if b.Result.BuiltBy != nil {
		by = *b.Result.BuiltBy
	}
	build, ctx := b.Job.Spec.Build, b.Job.Spec.Context
	if ctx != nil {
		clean := *ctx
		clean.Ref = Public(ctx.Ref)
		ctx = &clean
	}
	return Statement{
		Type: StatementType, PredicateType: PredicateType, Subject: subjects(b.Result.RepoDigests),
		Predicate: Predicate{
			BuildDefinition: BuildDefinition{
				BuildType:            BuildType,
				ExternalParameters:   ExternalParameters{Context: ctx, Build: build},
				InternalParameters:   InternalParameters{Engine: by.Engine},
				ResolvedDependencies: dependencies(ctx, b.Result),
			},
			RunDetails: RunDetails{
				Builder: Builder{ID: BuilderID(b.Farm, by.Host), Version: map[string]string{"slipway": cmp.Or(b.Version, "unknown")}},
				Metadata: Metadata{
					InvocationID: fmt.Sprintf("%s-a%d", by.Job, by.Attempt),
					StartedOn:    seconds(by.Began), FinishedOn: seconds(by.Ended),
				},
			},
		},
	}
}

// BuilderID is the URI of a host of a farm.
func BuilderID(farm, host string) string { return project + "/farms/" + farm + "/hosts/" + host }

// Of reports whether the statement is on the image with this digest, sha256:<hex>.
func (s Statement) Of(digest string) bool {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	return ok && s.Type == StatementType && slices.ContainsFunc(s.Subject, func(r Resource) bool { return r.Digest["sha256"] == hex })
}

// subjects are the repositories with what they have, each once however many tags it got.
func subjects(repoDigests []string) []Resource {
	var all []Resource
	for _, r := range repoDigests {
		name, digest, _ := strings.Cut(r, "@")
		name = imagename.Repository(name)
		if !slices.ContainsFunc(all, func(have Resource) bool { return have.Name == name && digest == "sha256:"+have.Digest["sha256"] }) {
			all = append(all, Resource{Name: name, Digest: digestSet(digest)})
		}
	}
	return all
}

func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
