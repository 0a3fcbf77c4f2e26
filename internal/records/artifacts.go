package records

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

var (
	_ artifacts.Pins     = (*DB)(nil)
	_ artifacts.Registry = (*DB)(nil)
)

// Pin implements artifacts.Pins.
func (db *DB) Pin(ctx context.Context, digest string) (condemned bool, err error) {
	_, late, err := db.pin(ctx, []string{digest})
	return len(late) > 0, err
}

// pinBatch bounds what one script is given.
const pinBatch = 500

// pin pins artifacts, and tells the time while it is there. late are those that
// are being deleted.
func (db *DB) pin(ctx context.Context, digests []string) (now time.Time, late []string, err error) {
	for len(digests) > 0 {
		n := min(len(digests), pinBatch)
		reply, err := db.scripts.pin.Run(ctx, db.rdb, []string{pinsKey, condemnedKey},
			arguments(digests[:n], artifacts.Grace.Microseconds(), artifacts.CondemnedFor.Microseconds())...).StringSlice()
		if err != nil {
			return time.Time{}, nil, fmt.Errorf("pin %d artifacts: %w", len(digests), err)
		}
		us, err := strconv.ParseInt(reply[0], 10, 64)
		if err != nil {
			return time.Time{}, nil, fmt.Errorf("pin artifacts: %w", err)
		}
		now, late, digests = time.UnixMicro(us).UTC(), append(late, reply[1:]...), digests[n:]
	}
	return now, late, nil
}

// Condemn announces that artifacts are going to be deleted and returns those of
// them that may be: now and for half of [artifacts.CondemnedFor]. With pretend it
// announces nothing. It takes a few hundred at once.
func (db *DB) Condemn(ctx context.Context, digests []string, pretend bool) ([]string, error) {
	free, err := db.scripts.condemn.Run(ctx, db.rdb, []string{pinsKey, condemnedKey},
		arguments(digests, artifacts.CondemnedFor.Microseconds(), flag(pretend))...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("condemn %d artifacts: %w", len(digests), err)
	}
	return free, nil
}

func arguments(digests []string, first ...any) []any {
	args := first
	for _, d := range digests {
		args = append(args, d)
	}
	return args
}

// CollectTurn reports whether it is the caller's turn to collect garbage, which
// comes to one worker each time.
func (db *DB) CollectTurn(ctx context.Context, every time.Duration) (bool, error) {
	ok, err := db.rdb.SetNX(ctx, collectKey, "", every).Result()
	if err != nil {
		return false, fmt.Errorf("take a turn at collecting garbage: %w", err)
	}
	return ok, nil
}

// Named calls f with the digest of every artifact that a record or a recipe names,
// possibly more than once: whatever in a document or a result reads like a digest, so
// that records of another version, and broken ones, keep what they name, too. It looks
// at the keys themselves: what was there before it began is not missed, however
// the indexes change meanwhile.
//
// A record is forgotten only after its recipe was learned, so the recipes come after the
// jobs. A rebuild takes a document from a recipe and then submits it, so the rebuilds come
// before and after.
func (db *DB) Named(ctx context.Context, f func(digest string)) error {
	for _, look := range []func(context.Context, func(string)) error{db.namedByRebuilds, db.namedByJobs, db.namedByRecipes, db.namedByRebuilds} {
		if err := look(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) namedByRecipes(ctx context.Context, f func(digest string)) error {
	return db.namedIn(ctx, recipesKey, f)
}

func (db *DB) namedByRebuilds(ctx context.Context, f func(digest string)) error {
	ids, err := db.rdb.HKeys(ctx, rebuildsKey).Result()
	if err != nil {
		return fmt.Errorf("look for rebuilds: %w", err)
	}
	for _, id := range ids {
		if err := db.namedIn(ctx, rebuildKey(id), f); err != nil {
			return err
		}
	}
	return nil
}

// namedIn calls f with all that the fields of a hash name.
func (db *DB) namedIn(ctx context.Context, key string, f func(digest string)) error {
	for cursor := uint64(0); ; {
		fields, next, err := db.rdb.HScan(ctx, key, cursor, "", scanCount).Result()
		if err != nil {
			return fmt.Errorf("look through %s: %w", key, err)
		}
		for _, text := range fields {
			for _, digest := range anyDigest.FindAllString(text, -1) {
				f(digest)
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func (db *DB) namedByJobs(ctx context.Context, f func(digest string)) error {
	var mu sync.Mutex // a cluster is scanned at all its nodes at once
	scan := func(ctx context.Context, node redis.Cmdable) error {
		for cursor := uint64(0); ; {
			keys, next, err := node.Scan(ctx, cursor, specKey("*"), scanCount).Result()
			if err != nil {
				return fmt.Errorf("look for job records: %w", err)
			}
			texts, err := db.texts(ctx, keys)
			if err != nil {
				return err
			}
			mu.Lock()
			for _, text := range texts {
				for _, digest := range anyDigest.FindAllString(text, -1) {
					f(digest)
				}
			}
			mu.Unlock()
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	}
	if cluster, ok := db.rdb.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return scan(ctx, node) })
	}
	return scan(ctx, db.rdb)
}

// scanCount is how many keys Redis looks at for one answer.
const scanCount = 1000

var anyDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// texts reads all that jobs may name artifacts in.
func (db *DB) texts(ctx context.Context, specKeys []string) ([]string, error) {
	if len(specKeys) == 0 {
		return nil, nil
	}
	before, after, _ := strings.Cut(specKey("*"), "*")
	pipe := db.rdb.Pipeline()
	var replies []*redis.StringCmd
	var pasts []*redis.StringSliceCmd
	for _, key := range specKeys {
		id := strings.TrimSuffix(strings.TrimPrefix(key, before), after)
		replies = append(replies, pipe.Get(ctx, key), pipe.Get(ctx, resultKey(id)), pipe.Get(ctx, partialKey(id)))
		pasts = append(pasts, pipe.LRange(ctx, pastKey(id), 0, -1))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read %d job records: %w", len(specKeys), err)
	}
	texts := make([]string, len(replies))
	for i, r := range replies {
		if err := r.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("read job records: %w", err)
		}
		texts[i] = r.Val()
	}
	for _, p := range pasts {
		if err := p.Err(); err != nil {
			return nil, fmt.Errorf("read job records: %w", err)
		}
		texts = append(texts, p.Val()...)
	}
	return texts, nil
}

// StoreID implements artifacts.Registry.
func (db *DB) StoreID(ctx context.Context) (string, error) {
	id, err := db.rdb.Get(ctx, storeKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read the identity of the farm's artifact store: %w", err)
	}
	return id, nil
}

// RememberStore implements artifacts.Registry.
func (db *DB) RememberStore(ctx context.Context, id string, over bool) (string, error) {
	var err error
	if over {
		err = db.rdb.Set(ctx, storeKey, id, 0).Err()
	} else {
		err = db.rdb.SetNX(ctx, storeKey, id, 0).Err()
	}
	if err != nil {
		return "", fmt.Errorf("note the identity of the farm's artifact store: %w", err)
	}
	return db.StoreID(ctx)
}

// MarkTurn implements artifacts.Registry.
func (db *DB) MarkTurn(ctx context.Context, d time.Duration) (bool, error) {
	ok, err := db.rdb.SetNX(ctx, markingKey, "", d).Result()
	if err != nil {
		return false, fmt.Errorf("take a turn at marking the farm's artifact store: %w", err)
	}
	return ok, nil
}

// EndTurn implements artifacts.Registry.
func (db *DB) EndTurn(ctx context.Context) error {
	if err := db.rdb.Del(ctx, markingKey).Err(); err != nil {
		return fmt.Errorf("give up the turn at marking the farm's artifact store: %w", err)
	}
	return nil
}
