package jobs

import (
	"fmt"
	"regexp"
	"slices"
)

var secretPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// IsSecret reports whether s may be the name of a secret, or of a credential.
func IsSecret(s string) bool { return secretPattern.MatchString(s) }

// SecretsDir is where a container has the files of run.secrets.
const SecretsDir = "/run/secrets"

// Secret names a secret that the worker holds; its value never travels.
type Secret struct {
	// ID is what the Dockerfile calls it in RUN --mount=type=secret,id=..., or the name of
	// its file in a container.
	ID string `json:"id"`
	// Name is the worker's name for it, ID when empty.
	Name string `json:"name,omitempty"`
}

// SecretName is the worker's name of the secret.
func (s Secret) SecretName() string {
	if s.Name == "" {
		return s.ID
	}
	return s.Name
}

func (p *problems) secret(at string, s Secret) {
	if s.ID == "" {
		p.add("secret_invalid", at+"/id", "the id is missing")
	}
	p.match(secretPattern, "secret_invalid", at+"/id", s.ID, "letters, digits and . _ -, at most 64")
	p.match(secretPattern, "secret_invalid", at+"/name", s.Name, "letters, digits and . _ -, at most 64")
}

// secretFiles checks those of a run: each is a file of its own.
func (p *problems) secretFiles(all []Secret) {
	p.count("/run/secrets", len(all))
	for i, s := range all[:min(len(all), maxList)] {
		at := fmt.Sprintf("/run/secrets/%d", i)
		p.secret(at, s)
		if slices.ContainsFunc(all[:i], func(other Secret) bool { return other.ID == s.ID }) {
			p.add("secret_invalid", at+"/id", "%q comes twice", s.ID)
		}
	}
}
