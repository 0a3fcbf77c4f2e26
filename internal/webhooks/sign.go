package webhooks

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// secretPrefix begins each secret of Standard Webhooks.
const secretPrefix = "whsec_"

// ParseSecret reads whsec_<base64> of 24 to 64 bytes. Other secrets of a worker, such as
// passwords, do not have this form: no call is signed with one, from which it could be
// guessed.
func ParseSecret(text []byte) ([]byte, error) {
	encoded, ok := bytes.CutPrefix(bytes.TrimSpace(text), []byte(secretPrefix))
	key, err := base64.StdEncoding.DecodeString(string(encoded))
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("want whsec_ and 24 to 64 bytes in base64")
	}
	return key, nil
}

// signingKey reads a secret of this process by its path.
func signingKey(secret func(path string) ([]byte, error), path string) ([]byte, error) {
	text, err := secret(path)
	if err != nil {
		return nil, err
	}
	key, err := ParseSecret(text)
	if err != nil {
		return nil, fmt.Errorf("the worker's secret %s is not one of Standard Webhooks: %w", path, err)
	}
	return key, nil
}

// CheckSecrets looks whether this process can sign the calls of all webhooks that are called,
// and returns how many these are.
func CheckSecrets(ctx context.Context, from jobs.Webhooks, secret func(path string) ([]byte, error)) (count int, err error) {
	hooks, err := from.Webhooks(ctx)
	if err != nil {
		return 0, err
	}
	var missing []error
	for _, w := range hooks {
		if w.Disabled != "" || w.Damaged != "" {
			continue
		}
		count++
		for _, path := range within(hookSecrets, w.Secrets) {
			if _, err := signingKey(secret, path); err != nil {
				missing = append(missing, fmt.Errorf("webhook %s: %w", w.Name, err))
			}
		}
	}
	return count, errors.Join(missing...)
}

// sign is the signature of Standard Webhooks 1.0.
func sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.", id, strconv.FormatInt(at.Unix(), 10)) // a hash takes all
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
