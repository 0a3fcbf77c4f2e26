package faults

import "context"

// Registry is what rebuilds move tags with: rebuild.Tags.
type Registry interface {
	Tagged(ctx context.Context, tag string) (digest string, err error)
	Retag(ctx context.Context, tag, digest string) error
	SameContent(ctx context.Context, repository, a, b string) (bool, error)
}

// Tags wraps what moves tags at registries. The images that are compared pass.
func Tags(r Registry, at At) Registry { return tags{r, at} }

type tags struct {
	Registry
	at At
}

func (t tags) Tagged(ctx context.Context, tag string) (string, error) {
	return around(ctx, t.at, Call{Name: "tagged", Job: tag}, func() (string, error) { return t.Registry.Tagged(ctx, tag) })
}

func (t tags) Retag(ctx context.Context, tag, digest string) error {
	return do(ctx, t.at, Call{Name: "retag", Job: tag}, func() error { return t.Registry.Retag(ctx, tag, digest) })
}
