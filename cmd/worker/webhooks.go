package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/admission"
	"github.com/slipway-farm/slipway/internal/netguard"
	"github.com/slipway-farm/slipway/internal/policy"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/telemetry"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

// newCaller makes what calls webhooks by the policy of the moment.
func newCaller(lg *slog.Logger, c config, db *records.DB, admits *admission.Admission, metrics *telemetry.Metrics) *webhooks.Caller {
	sender := webhooks.NewSender(func() webhooks.Rules { return hookRules(admits.Policy()) }, hookSecrets(c.Worker.SecretsDir), webhooks.SenderOptions{})
	return webhooks.New(lg, webhooks.Deps{
		Endings: db, Webhooks: db, Calls: db, Sender: sender,
		MaySign: func(tenant, secret string) bool { return admits.Policy().Tenants.MaySign(tenant, secret) },
	}, webhooks.Options{Nonce: uuid.NewString(), Farm: c.Worker.Farm, Observer: metrics})
}

// hookRules returns what a policy allows webhooks.
func hookRules(p policy.Policy) webhooks.Rules {
	w := p.Webhooks
	return webhooks.Rules{Schemes: w.Schemes, Hosts: w.Hosts, Guard: netguard.New(networks(w.Networks))}
}

// hookSecrets reads what calls are signed with from folders of the directory of secrets,
// where no name of a build secret leads. Its errors are for people: they have no path.
func hookSecrets(dir string) func(name string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		missing := fmt.Errorf("the worker has no secret %s below its --secrets", name)
		if dir == "" {
			return nil, missing
		}
		folder, file := path.Split(name)
		text, err := os.ReadFile(filepath.Join(dir, filepath.Base(folder), filepath.Base(file)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, missing
		case err != nil:
			return nil, fmt.Errorf("the worker cannot read its secret %s", name)
		}
		return text, nil
	}
}
