package rebuild

import (
	"context"
	"errors"
	"time"
)

// turnTime is how long one promoter has the turn. It is prolonged while a step lasts, so that
// another one may soon go on where a process died, and not before.
const turnTime = 15 * time.Second

// turn takes the turn, or prolongs it. false means that another promoter has it.
func (p *Promoter) turn(ctx context.Context) (mine bool, err error) {
	return p.rebuilds.PromoteTurn(ctx, p.opts.Nonce, turnTime)
}

// errTurn says that another promoter has got the turn during a step.
var errTurn = errors.New("another promoter has the turn")

// inTurn fails with errTurn when this promoter has not got the turn any more: it was
// stopped for longer than that lasts. What it knows may be old then.
func (p *Promoter) inTurn(ctx context.Context) error {
	mine, err := p.turn(ctx)
	if err == nil && !mine {
		err = errTurn
	}
	return err
}

// keepTurn prolongs the turn until the caller calls stop, which waits for the end of that.
func (p *Promoter) keepTurn(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-time.After(turnTime / 3):
				_, _ = p.turn(ctx) // who moves a tag asks again
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
