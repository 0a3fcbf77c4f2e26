package jobs

import "regexp"

var secretPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// IsSecret reports whether s may be the name of a secret, or of a credential.
func IsSecret(s string) bool { return secretPattern.MatchString(s) }

// Secret names a secret that the worker holds; its value never travels.
type Secret struct {
	// ID is what the Dockerfile calls it in RUN --mount=type=secret,id=...
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
