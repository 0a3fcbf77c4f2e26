package main

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// service is what the verbs ask of the farm: jobs.Service where the program reaches Redis
// itself, remote.Farm over HTTP.
type service interface {
	Submit(ctx context.Context, spec jobs.Spec) (jobs.Submitted, error)
	SubmitBatch(ctx context.Context, specs []jobs.Spec) ([]jobs.Submitted, error)
	Get(ctx context.Context, id string) (jobs.Job, error)
	GetAll(ctx context.Context, ids []string) ([]jobs.Job, error)
	List(ctx context.Context, q jobs.Query) (jobs.Page, error)
	Cancel(ctx context.Context, id, by string) (jobs.Job, error)
	Follow(ctx context.Context, id string, after jobs.Cursor, wait time.Duration) (jobs.News, error)
	Wait(ctx context.Context, id string) (jobs.Job, error)
	WhyAll(ctx context.Context, hosts jobs.Hosts, list ...jobs.Job) ([]jobs.Why, error)
	Load(ctx context.Context, hosts jobs.Hosts, queues ...string) (jobs.Load, int, error)
	Paused(ctx context.Context, queues ...string) ([]jobs.Pause, error)
	SetPause(ctx context.Context, p jobs.Pause) error
	EndPause(ctx context.Context, queue string, p jobs.Priority) (bool, error)
	Weights(ctx context.Context, queues ...string) ([]jobs.Weight, error)
	SetWeight(ctx context.Context, w jobs.Weight) error
}

// link is the rest of what the verbs ask of the farm.
type link struct {
	// known lists the hosts, with Redis time; hosts is nil over HTTP, where the server asks.
	known    func(ctx context.Context) ([]jobs.KnownHost, time.Time, error)
	hosts    jobs.Hosts
	orders   orders
	recipes  recipes
	rebuilds rebuilds
	planner  planner
	bases    bases
	tokens   tokens
	hooks    jobs.Webhooks
	calls    jobs.HookCalls
	// move moves a rebuild on at once, nil where the server does it.
	move func(ctx context.Context, id string) error
}

type orders interface {
	Order(ctx context.Context, host string, o jobs.HostOrder) (jobs.HostOrder, error)
	Resume(ctx context.Context, host string) (bool, error)
}

type recipes interface {
	AllRecipes(ctx context.Context) ([]jobs.Recipe, error)
	Recipe(ctx context.Context, name string) (jobs.Recipe, error)
	Learn(ctx context.Context, r jobs.Recipe) (bool, error)
	SetRecipe(ctx context.Context, name string, change func(*jobs.RecipeSettings) error) error
	RemoveRecipe(ctx context.Context, name string) error
}

type rebuilds interface {
	Rebuild(ctx context.Context, id string, names ...string) (jobs.Rebuild, []jobs.RebuildImage, error)
	Rebuilds(ctx context.Context) ([]jobs.Rebuild, error)
}

// planner plans rebuilds and changes them; see rebuild.Service.
type planner interface {
	Plan(ctx context.Context, q rebuild.Question) (rebuild.Plan, error)
	Begin(ctx context.Context, q rebuild.Question, o rebuild.Order) (jobs.Rebuild, []jobs.RebuildImage, error)
	Do(ctx context.Context, verb rebuild.Verb, id, by string) error
}

type bases interface {
	Bases(ctx context.Context) ([]jobs.Base, error)
	AskForBases(ctx context.Context) error
}

type tokens interface {
	MakeToken(ctx context.Context, t access.Token) (access.ShownToken, error)
	Tokens(ctx context.Context) ([]access.Token, error)
	RevokeToken(ctx context.Context, id string) error
	Deeds(ctx context.Context, limit int) ([]access.Deed, error)
}

// ownTokens makes tokens here.
type ownTokens struct {
	access.Trail
	tokens access.Tokens
}

// Tokens implements tokens.
func (o ownTokens) Tokens(ctx context.Context) ([]access.Token, error) { return o.tokens.Tokens(ctx) }

// RevokeToken implements tokens.
func (o ownTokens) RevokeToken(ctx context.Context, id string) error {
	return o.tokens.RevokeToken(ctx, id)
}

// MakeToken implements tokens.
func (o ownTokens) MakeToken(ctx context.Context, t access.Token) (access.ShownToken, error) {
	t, text, err := access.NewToken(t)
	if err != nil {
		return access.ShownToken{}, err
	}
	return access.Shown(t, text), o.tokens.AddToken(ctx, t)
}
