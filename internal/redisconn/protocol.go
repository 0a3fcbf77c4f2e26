package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"strings"
)

// Protocol is advice where an address was reached and the two sides did not agree on TLS, "" for
// all other errors: a server that wants TLS ends a connection without it at once, and
// one without TLS waits for the rest of what it takes for a command.
func Protocol(rawURL string, err error) string {
	scheme, _, _ := strings.Cut(rawURL, ":")
	secure := strings.HasPrefix(scheme, "rediss")
	_, strange := errors.AsType[x509.UnknownAuthorityError](err)
	_, otherName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, noRecord := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case strange:
		return "trust its authority: put ca=FILE behind the ? of the URL"
	case otherName:
		return "use an address that the certificate has, or put server_name=NAME behind the ? of the URL"
	case isInvalid && invalid.Reason == x509.Expired:
		return "renew the certificate, and look at the clocks of both sides"
	case scheme == "unix":
	case !secure && errors.Is(err, io.EOF):
		return "it ends the connection at once: if it wants TLS, write rediss in place of redis"
	case secure && (noRecord || errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded)):
		return "the address may be one without TLS: then write redis in place of rediss; else look whether it answers"
	}
	return ""
}
