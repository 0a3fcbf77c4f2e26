package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/slipway-farm/slipway/internal/netguard"
	"github.com/slipway-farm/slipway/internal/policy"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

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
