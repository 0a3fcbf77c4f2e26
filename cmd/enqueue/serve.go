package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/flags"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pages"
	"github.com/slipway-farm/slipway/internal/policy"
)

const serveHelp = `Serve the farm over HTTP, for programs that have neither Redis nor the artifact store:

  curl --data-binary @ctx.tar -H "Authorization: Bearer $T" "$S/v1/build?tag=app:1&run&wait=10m"

builds a tar, runs the image and answers with the finished job. /openapi.yaml describes all
routes. A browser gets pages at the same address. Clients and browsers need a token: enqueue
tokens create makes one.

An address that other machines can reach needs --tls-cert and --tls-key, unless --insecure
says that something in front of it sees to that. A certificate is read again when it changes.
Workers hold jobs to their policy whatever the server does; with --policy it refuses at once
what a tenant may not ask for. Several servers may serve one farm. Uploads that come in pieces are kept in --upload-dir, so
that all pieces of one have to reach the same server.`

// serveFlags are the flags of serve.
type serveFlags struct {
	listen             api.Listen
	noTokens, noLimits bool
	rate               float64
	uploadDir, policy  string
}

func (a *app) serveCmd() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{Use: "serve", Short: "Serve the farm over HTTP", Long: serveHelp, Args: noArgs}
	fs := cmd.Flags()
	fs.StringVar(&f.listen.Address, "listen", "127.0.0.1:8470", "address to listen on")
	fs.StringVar(&f.listen.CertFile, "tls-cert", "", "certificate `file` (PEM, with the chain)")
	fs.StringVar(&f.listen.KeyFile, "tls-key", "", "its key `file`")
	fs.BoolVar(&f.listen.Insecure, "insecure", false, "listen for other machines without TLS, or without tokens")
	fs.BoolVar(&f.noTokens, "no-tokens", false, "let everyone who reaches the address do everything")
	fs.BoolVar(&f.noLimits, "no-limits", false, "take contexts that are over the default limits; the workers' policy decides")
	fs.StringVar(&f.policy, "policy", "", "the workers' policy `file`, to refuse at once what they would refuse; read when the server starts")
	fs.Float64Var(&f.rate, "rate", 200, "requests a second that one token may send, and twice as many at once")
	fs.StringVar(&f.uploadDir, "upload-dir", "", "directory for uploads that come in pieces (default $TMPDIR/slipway-uploads-UID)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), f) }
	return cmd
}

// serve runs the HTTP API until it is interrupted.
func (a *app) serve(ctx context.Context, f serveFlags) error {
	if f.rate <= 0 {
		return usage("", "--rate: found %g; want more than 0", f.rate)
	}
	var feeds int
	a.redisURL, feeds = withPool(a.redisURL)
	farm, err := a.served(ctx)
	if err != nil {
		return err
	}
	o := api.Options{
		Farm: farm, Advance: a.move, Open: f.noTokens, Anyone: access.Principal{Name: a.whoami(), Scopes: access.Scopes()},
		Document: flags.FromParameters, Parameters: flags.Parameters(),
		Rate: f.rate, Burst: int(2*f.rate) + 1, Feeds: feeds, UploadDir: f.uploadDir,
		Ready: a.usable, Version: buildVersion(), Log: slog.New(slog.NewTextHandler(a.stderr, nil)),
	}
	if f.policy != "" {
		p, err := policy.Load(f.policy)
		if err != nil {
			return usage("see worker policy --help", "--policy: %v", err)
		}
		o.Limits, o.Check = p.Context.Limits(), p.Tenants.Check
	}
	if f.noLimits {
		o.Limits = contexts.NoLimits()
	}
	if o.UploadDir == "" {
		o.UploadDir = filepath.Join(os.TempDir(), fmt.Sprintf("slipway-uploads-%d", os.Getuid()))
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	server := api.New(o)
	web, err := pages.New(pages.Options{API: server, Open: o.Open, Jobs: farm.Jobs, Hosts: farm.Hosts, Log: o.Log})
	if err != nil {
		return err
	}
	f.listen.Handler = web
	err = server.Serve(ctx, f.listen, func(url string) {
		fmt.Fprintf(a.stderr, "serving the farm at %s\n", url)
		if !f.noTokens {
			fmt.Fprintln(a.stderr, "clients need a token: enqueue tokens create NAME")
		}
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, api.ErrExposed):
		return failure{
			code: jobs.ExitUsage, what: "--listen " + f.listen.Address, err: err,
			hint: "give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure when something in front of it sees to that",
		}
	}
	return failure{code: jobs.ExitUsage, what: "cannot serve", err: err, hint: "see --listen, --tls-cert and --tls-key"}
}

// served is what the HTTP API works on.
func (a *app) served(ctx context.Context) (api.Farm, error) {
	if a.server != "" {
		return api.Farm{}, usage("leave out --server and SLIPWAY_SERVER", "serve needs the farm's Redis and artifact store")
	}
	if _, err := a.service(ctx); err != nil {
		return api.Farm{}, err
	}
	blobs, err := a.artifacts(ctx)
	if err != nil {
		return api.Farm{}, err
	}
	f := *a.farm
	f.Blobs = blobs
	return f, nil
}

// usable says why Redis or the artifact store cannot be used, nil when they can.
func (a *app) usable(ctx context.Context) error {
	if _, _, err := a.hosts.Hosts(ctx); err != nil {
		return err
	}
	_, err := a.blobs.Has(ctx, "sha256:0000000000000000000000000000000000000000000000000000000000000000")
	return err
}

const (
	// servePool is how many connections a server may have to each Redis: each job that is
	// followed waits on one.
	servePool = 600
	// servePatience is how long it waits for one that is free, serveRetries how often it tries
	// again: clients try again, too, and are told so before they give up.
	servePatience = "3s"
	serveRetries  = "1"
)

// withPool adds these to a URL that does not say, and returns how many jobs may be followed: some
// connections are left for all else.
func withPool(redisURL string) (string, int) {
	u, err := url.Parse(redisURL)
	if err != nil {
		return redisURL, 0 // the connection reports it
	}
	q := u.Query()
	for name, v := range map[string]string{"pool_size": strconv.Itoa(servePool), "pool_timeout": servePatience, "max_retries": serveRetries} {
		if !q.Has(name) {
			q.Set(name, v)
		}
	}
	u.RawQuery = q.Encode()
	size, err := strconv.Atoi(q.Get("pool_size"))
	if err != nil || size < 1 {
		return u.String(), 0 // the connection reports it
	}
	return u.String(), max(1, size-size/6)
}
