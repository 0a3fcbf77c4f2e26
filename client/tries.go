package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// tries are attempts at the same thing in a row, with longer and longer pauses.
type tries struct {
	patience, first time.Duration
	// since is when the first of them failed, zero when none has since the last progress.
	since time.Time
	pause time.Duration
}

func (c *Client) tries() *tries { return &tries{patience: c.Patience, first: c.first} }

// longestPause is how long a pause is that the server did not ask for.
const longestPause = 10 * time.Second

// do calls attempt until it succeeds, or its error says that another one is of no use. again
// is true when attempt may have been done although it failed.
func (t *tries) do(ctx context.Context, again bool, attempt func() error) error {
	for {
		err := attempt()
		if err == nil {
			return nil
		}
		if err := t.failed(ctx, again, err); err != nil {
			return err
		}
	}
}

// progress says that something came of the last attempt.
func (t *tries) progress() { t.since, t.pause = time.Time{}, 0 }

// failed pauses before another attempt, or returns why there is none.
func (t *tries) failed(ctx context.Context, again bool, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	after, ok := worthwhile(again, err)
	if !ok {
		return err
	}
	now := time.Now()
	if t.since.IsZero() {
		t.since, t.pause = now, t.first
	}
	pause := max(after, t.pause/2+rand.N(t.pause/2+1))
	t.pause = min(2*t.pause, longestPause)
	if now.Add(pause).Sub(t.since) > t.patience {
		return err
	}
	return sleep(ctx, pause, err)
}

// sleep pauses; because is why, for the error when ctx ends.
func sleep(ctx context.Context, d time.Duration, because error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), because)
	}
}

// worthwhile reports whether an error may go away with another attempt, and how long the
// server asks to be left alone. again is true when the request may come twice.
func worthwhile(again bool, err error) (after time.Duration, ok bool) {
	if p, is := errors.AsType[*Problem](err); is {
		switch p.Status {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			// The first never began. The second may have, as far as the farm's database had it.
			return p.after, again || p.Status == http.StatusTooManyRequests
		case http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusRequestTimeout:
			return p.after, again // what is between lost the server
		}
		return 0, false
	}
	if _, is := errors.AsType[*unreadable](err); is {
		return 0, false
	}
	if _, is := errors.AsType[*tls.CertificateVerificationError](err); is {
		return 0, false
	}
	if dns, is := errors.AsType[*net.DNSError](err); is && dns.IsNotFound {
		return 0, false
	}
	if op, is := errors.AsType[*net.OpError](err); is && op.Op == "dial" {
		return 0, true // nothing was sent
	}
	return 0, again
}
