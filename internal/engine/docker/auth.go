package docker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/registry"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// dockerHub is the registry of names without a host. docker login files it
// under https://index.docker.io/v1/.
const dockerHub = "docker.io"

// logins maps a registry host such as registry.example.com:5000 to its login.
type logins map[string]registry.AuthConfig

// readLogins reads the "auths" of a docker config.json; no file means no
// logins.
func readLogins(file string) (logins, error) {
	if file == "" {
		return nil, nil
	}
	found, err := parseLogins(file)
	if err != nil {
		return nil, jobs.Fail(jobs.KindEngine, err, hintOperator, "the worker's registry logins cannot be read")
	}
	return found, nil
}

// Registries names the registries that a file has logins for.
func Registries(file string) ([]string, error) {
	all, err := parseLogins(file)
	if err != nil {
		return nil, fmt.Errorf("read the registry logins: %w", err)
	}
	return slices.Sorted(maps.Keys(all)), nil
}

func parseLogins(file string) (logins, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var config struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("%s is not a config.json of docker: %w", file, err)
	}
	all := logins{}
	for key, entry := range config.Auths {
		if entry.Auth == "" && entry.IdentityToken == "" {
			// docker login leaves an empty entry when a helper keeps the login.
			return nil, fmt.Errorf("%s has no login for %s; the worker does not ask credential helpers", file, key)
		}
		plain, err := base64.StdEncoding.DecodeString(entry.Auth)
		user, password, ok := strings.Cut(string(plain), ":")
		if err != nil || !ok && entry.Auth != "" {
			return nil, fmt.Errorf("%s: the auth of %s is not the base64 of user:password", file, key)
		}
		all[keyHost(key)] = registry.AuthConfig{Username: user, Password: password, IdentityToken: entry.IdentityToken, ServerAddress: key}
	}
	return all, nil
}

// lookup returns the login of a registry host, zero when there is none.
func (l logins) lookup(host string) registry.AuthConfig { return l[canonicalHost(host)] }

// header is the login for an image name as the API takes it.
func (e *Engine) header(ref string) (string, error) {
	all, err := readLogins(e.authFile)
	if err != nil {
		return "", err
	}
	return registry.EncodeAuthConfig(all.lookup(registryOf(ref)))
}

// registryOf returns the registry host of an image name.
func registryOf(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return dockerHub
	}
	return reference.Domain(named)
}

// keyHost is the host of a key of the file: a bare host, or a URL.
func keyHost(key string) string {
	host := strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	return canonicalHost(host)
}

// canonicalHost folds the names of Docker Hub into one.
func canonicalHost(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io", "auth.docker.io":
		return dockerHub
	}
	return host
}
