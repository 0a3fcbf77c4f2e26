package webhooks

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"
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

// sign is the signature of Standard Webhooks 1.0.
func sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.", id, strconv.FormatInt(at.Unix(), 10)) // a hash takes all
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
