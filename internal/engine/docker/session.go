package docker

import (
	"context"
	"errors"
	"net"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"google.golang.org/grpc"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// attachables answer what BuildKit asks for during a build: secrets, signatures with
// SSH keys, and registry logins. Without them even a public base cannot be pulled. What is missing is
// found here, before anything is built.
func (e *Engine) attachables(b engine.Build) ([]session.Attachable, error) {
	secrets, err := readSecrets(b)
	if err != nil {
		return nil, err
	}
	known, err := readLogins(e.authFile)
	if err != nil {
		return nil, err
	}
	all := []session.Attachable{secretsprovider.FromMap(secrets), &authServer{logins: known}}
	if len(b.Spec.SSH) == 0 {
		return all, nil
	}
	keys, err := agents(b)
	return append(all, keys), err
}

// openSession offers attachables to the daemon beside a request.
func (e *Engine) openSession(ctx context.Context, attachables []session.Attachable) (s *session.Session, end func(), err error) {
	s, err = session.NewSession(ctx, "")
	if err != nil {
		return nil, nil, failure(ctx, err, "prepare a build session")
	}
	for _, a := range attachables {
		s.Allow(a)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx, e.dialSession); err != nil {
			e.lg.WarnContext(ctx, "a build session broke", "err", err) // the build says the same to its caller
		}
	}()
	return s, func() {
		_ = s.Close()
		<-done
	}, nil
}

func (e *Engine) dialSession(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
	return e.cli.DialHijack(ctx, "/session", proto, meta)
}

// readSecrets fetches the values of all secrets the build may use.
func readSecrets(b engine.Build) (map[string][]byte, error) {
	values := map[string][]byte{}
	for _, s := range b.Spec.Secrets {
		name := s.SecretName()
		value, err := b.Secret(name)
		if f, failed := errors.AsType[*jobs.Failure](err); failed {
			return nil, f
		} else if err != nil {
			return nil, jobs.Fail(jobs.KindSecretNotFound, err, "ask the operator to add it to the worker, or check the name", "the worker has no secret %q", name)
		}
		if len(value) > secretsprovider.MaxSecretSize {
			return nil, jobs.Fail(jobs.KindSecretNotFound, nil, "ask the operator for a smaller one", "secret %q has %d bytes; BuildKit takes %d", name, len(value), secretsprovider.MaxSecretSize)
		}
		values[s.ID] = value
	}
	return values, nil
}

// agents has an SSH agent for each key that the build may sign with.
func agents(b engine.Build) (session.Attachable, error) {
	var all []sshprovider.AgentConfig
	for _, s := range b.Spec.SSH {
		path, err := b.SSHKey(s.SecretName())
		if err != nil {
			return nil, err
		}
		all = append(all, sshprovider.AgentConfig{ID: s.ID, Paths: []string{path}})
	}
	provider, err := sshprovider.NewSSHAgentProvider(all)
	if err != nil {
		return nil, jobs.Fail(jobs.KindSecretNotFound, err, "ask the operator for a private key without a passphrase", "an SSH key of the worker cannot be used")
	}
	return provider, nil
}

// authServer serves registry logins. The rest of the protocol is about tokens
// the client fetches itself; BuildKit does without when it is unimplemented.
type authServer struct {
	auth.UnimplementedAuthServer
	logins logins
}

// Register implements session.Attachable.
func (s *authServer) Register(server *grpc.Server) { auth.RegisterAuthServer(server, s) }

// Credentials implements auth.AuthServer. No login is an empty answer.
func (s *authServer) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	login := s.logins.lookup(req.Host)
	if login.IdentityToken != "" {
		return &auth.CredentialsResponse{Secret: login.IdentityToken}, nil
	}
	return &auth.CredentialsResponse{Username: login.Username, Secret: login.Password}, nil
}
