package docker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/registry"
)

// dockerHub is the registry of names without a host. docker login files it under
// https://index.docker.io/v1/.
const dockerHub = "docker.io"

// credentials reads the operator's file of registry logins.
type credentials struct{ file string }

// lookup returns the login of a registry host such as registry.example.com:5000,
// zero when there is none.
func (c credentials) lookup(host string) (registry.AuthConfig, error) {
	if c.file == "" {
		return registry.AuthConfig{}, nil
	}
	raw, err := os.ReadFile(c.file)
	if err != nil {
		return registry.AuthConfig{}, fmt.Errorf("read registry logins: %w", err)
	}
	var config struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return registry.AuthConfig{}, fmt.Errorf("read registry logins: %w", err)
	}
	for key, entry := range config.Auths {
		if keyHost(key) != canonicalHost(host) {
			continue
		}
		plain, err := base64.StdEncoding.DecodeString(entry.Auth)
		user, password, ok := strings.Cut(string(plain), ":")
		if err != nil || !ok {
			return registry.AuthConfig{}, fmt.Errorf("read registry logins: the entry of %s is not base64 of user:password", key)
		}
		return registry.AuthConfig{Username: user, Password: password, IdentityToken: entry.IdentityToken, ServerAddress: key}, nil
	}
	return registry.AuthConfig{}, nil
}

// header is the login for a reference as the API takes it.
func (c credentials) header(ref string) (string, error) {
	login, err := c.lookup(registryOf(ref))
	if err != nil {
		return "", err
	}
	return registry.EncodeAuthConfig(login)
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
