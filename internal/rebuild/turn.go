package rebuild

import (
	"context"
	"errors"
	"time"
)

// turnTime is how long one promoter has the turn. It is prolonged while a step lasts, so that
// another one may soon go on where a process died, and not before.
const turnTime = 15 * time.Second

// errTurn says that another promoter has the turn.
var errTurn = errors.New("another promoter has the turn")

// inTurn takes the turn, or prolongs it, and fails with errTurn when another promoter has it.
// A promoter that was stopped for longer than the turn lasts knows what may be old then.
func (p *Promoter) inTurn(ctx context.Context) error {
	mine, err := p.rebuilds.PromoteTurn(ctx, p.opts.Nonce, turnTime)
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
				_ = p.inTurn(ctx) // the promoter asks again before it moves a tag
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
