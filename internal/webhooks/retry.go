package webhooks

import (
	"math/rand/v2"
	"time"
)

const (
	// tryFor is how long a call is tried, from its first try on.
	tryFor = 24 * time.Hour
	// giveUps is how many calls in a row are given up before a webhook is disabled.
	giveUps = 5
	// The pause after a try is a random part of a time that begins with shortest and grows
	// threefold up to longest: about twenty tries in a day, and those of many calls that
	// failed together are spread.
	shortest = 10 * time.Second
	longest  = 4 * time.Hour
)

// pause is how long to wait after so many tries. wants is how long the receiver wants to be
// left alone, 0 when it did not say.
func pause(tries int, wants time.Duration, random float64) time.Duration {
	ceiling := shortest
	for range tries - 1 {
		if ceiling *= 3; ceiling >= longest {
			ceiling = longest
			break
		}
	}
	p := max(time.Second, time.Duration(random*float64(ceiling)))
	if wants <= p {
		return p
	}
	return min(wants, longest) + time.Duration(random*float64(shortest))
}

func (c *Caller) random() float64 {
	if c.opts.Rand != nil {
		return c.opts.Rand()
	}
	return rand.Float64()
}
