package records

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/access"
)

var (
	_ access.Tokens = (*DB)(nil)
	_ access.Trail  = (*DB)(nil)
)

// AddToken implements access.Tokens.
func (db *DB) AddToken(ctx context.Context, t access.Token) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode token %s: %w", t.ID, err)
	}
	if err := db.rdb.HSet(ctx, tokensKey, t.ID, raw).Err(); err != nil {
		return fmt.Errorf("keep token %s: %w", t.ID, err)
	}
	return nil
}

// Token implements access.Tokens.
func (db *DB) Token(ctx context.Context, id string) (access.Token, error) {
	raw, err := db.rdb.HGet(ctx, tokensKey, id).Bytes()
	if errors.Is(err, redis.Nil) {
		return access.Token{}, fmt.Errorf("%w: %s", access.ErrNoToken, id)
	} else if err != nil {
		return access.Token{}, fmt.Errorf("read token %s: %w", id, err)
	}
	var t access.Token
	if err := json.Unmarshal(raw, &t); err != nil {
		return access.Token{}, fmt.Errorf("read token %s: %w", id, err)
	}
	return t, nil
}

// Tokens implements access.Tokens. One that cannot be read is listed by its ID, so that it
// can be revoked.
func (db *DB) Tokens(ctx context.Context) ([]access.Token, error) {
	fields, err := db.rdb.HGetAll(ctx, tokensKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	all := make([]access.Token, 0, len(fields))
	for id, raw := range fields {
		var t access.Token
		if err := json.Unmarshal([]byte(raw), &t); err != nil {
			t = access.Token{Name: "(cannot be read)"}
		}
		t.ID = id
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b access.Token) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// RevokeToken implements access.Tokens.
func (db *DB) RevokeToken(ctx context.Context, id string) error {
	n, err := db.rdb.HDel(ctx, tokensKey, id).Result()
	switch {
	case err != nil:
		return fmt.Errorf("revoke token %s: %w", id, err)
	case n == 0:
		return fmt.Errorf("%w: %s", access.ErrNoToken, id)
	}
	return nil
}

// Record implements access.Trail.
func (db *DB) Record(ctx context.Context, d access.Deed) error {
	var err error
	if d.At, err = db.Now(ctx); err != nil {
		return err
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode an entry of the trail: %w", err)
	}
	err = db.rdb.XAdd(ctx, &redis.XAddArgs{Stream: trailKey, MaxLen: access.TrailKept, Approx: true, Values: []any{"d", raw}}).Err()
	if err != nil {
		return fmt.Errorf("write the trail: %w", err)
	}
	return nil
}

// Deeds implements access.Trail. Entries that cannot be read are left out.
func (db *DB) Deeds(ctx context.Context, limit int) ([]access.Deed, error) {
	found, err := db.rdb.XRevRangeN(ctx, trailKey, "+", "-", int64(limit)).Result()
	if err != nil {
		return nil, fmt.Errorf("read the trail: %w", err)
	}
	deeds := make([]access.Deed, 0, len(found))
	for _, m := range found {
		var d access.Deed
		raw, _ := m.Values["d"].(string)
		if json.Unmarshal([]byte(raw), &d) == nil {
			deeds = append(deeds, d)
		}
	}
	return deeds, nil
}
