package records

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// fullAt is the part of Redis' memory limit, in percent, that submissions may
// fill. What is above it is for the jobs that are there: their results, events and
// log tails have to be written, too.
const fullAt = 80

// room refuses a submission before Redis has to refuse everything. A server that
// has no limit, or does not tell, is not full.
func (db *DB) room(ctx context.Context) error {
	text, err := db.rdb.Info(ctx, "memory").Result()
	if err != nil {
		return nil // INFO may be forbidden; the write will tell
	}
	used, limit := infoNumber(text, "used_memory"), infoNumber(text, "maxmemory")
	if limit == 0 || used < limit/100*fullAt {
		return nil
	}
	return fmt.Errorf("%w: Redis uses %d of its %d MB, and new jobs may fill %d %%", jobs.ErrFull, used>>20, limit>>20, fullAt)
}

// infoNumber reads a field of INFO, 0 when it is not there.
func infoNumber(info, field string) int64 {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}
