package records

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Beat implements jobs.Hosts.
func (db *DB) Beat(ctx context.Context, h jobs.Host) error {
	h.Seen = time.Time{} // beside the document, on Redis' clock
	raw, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode what host %s says of itself: %w", h.Name, err)
	}
	err = db.scripts.beat.Run(ctx, db.rdb, []string{hostsKey}, h.Name, raw, jobs.HostForgotten.Microseconds()).Err()
	return wrapped("note that host "+h.Name+" is there", err)
}

// Leave implements jobs.Hosts.
func (db *DB) Leave(ctx context.Context, name string) error {
	return wrapped("forget host "+name, db.rdb.HDel(ctx, hostsKey, name).Err())
}

// Hosts implements jobs.Hosts.
func (db *DB) Hosts(ctx context.Context) ([]jobs.Host, time.Time, error) {
	all, err := db.rdb.HGetAll(ctx, hostsKey).Result()
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("list hosts: %w", err)
	}
	now, err := db.Now(ctx) // after the beats that were read
	if err != nil {
		return nil, time.Time{}, err
	}
	list := make([]jobs.Host, 0, len(all))
	for name, field := range all {
		h := decodeHost(name, field)
		// One without a time is shown: who looks can find out what wrote it.
		if h.Seen.IsZero() || h.Silent(now) <= jobs.HostForgotten {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b jobs.Host) int {
		return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Name, b.Name))
	})
	return list, now, nil
}

// decodeHost makes a Host of a field of the registry. What cannot be read is told
// in the host.
func decodeHost(name, field string) jobs.Host {
	seen, raw, _ := strings.Cut(field, " ")
	us, err := strconv.ParseInt(seen, 10, 64)
	if err != nil {
		return jobs.Host{Name: name, Damaged: "it does not say when it was seen"}
	}
	var h jobs.Host
	if err := json.Unmarshal([]byte(raw), &h); err != nil {
		h = jobs.Host{Damaged: fmt.Sprintf("what it says of itself cannot be read: %v", err)}
	}
	h.Name, h.Seen = name, time.UnixMicro(us).UTC()
	return h
}
