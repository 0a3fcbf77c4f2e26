package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var _ jobs.Webhooks = (*DB)(nil)

// AddWebhook implements jobs.Webhooks.
func (db *DB) AddWebhook(ctx context.Context, w jobs.Webhook) error {
	now, err := db.Now(ctx)
	if err != nil {
		return err
	}
	w.Created = now
	raw, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encode the webhook %s: %w", w.Name, err)
	}
	reply, err := db.scripts.addWebhook.Run(ctx, db.rdb, []string{webhooksKey, hookFailsKey}, w.Name, raw, jobs.MaxWebhooks).Text()
	switch {
	case err != nil:
		return fmt.Errorf("add the webhook %s: %w", w.Name, err)
	case reply == replyAgain:
		return fmt.Errorf("%w: %s", jobs.ErrWebhookExists, w.Name)
	case reply == replyFull:
		return jobs.ErrManyWebhooks
	}
	return nil
}

// Webhooks implements jobs.Webhooks.
func (db *DB) Webhooks(ctx context.Context) ([]jobs.Webhook, error) {
	fields, err := db.rdb.HGetAll(ctx, webhooksKey).Result()
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	list := make([]jobs.Webhook, 0, len(fields))
	for name, raw := range fields {
		var w jobs.Webhook
		if err := json.Unmarshal([]byte(raw), &w); err != nil { // it must not hide the others
			w = jobs.Webhook{Damaged: fmt.Sprintf("the webhook cannot be read: %v", err)}
		}
		w.Name = name
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b jobs.Webhook) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// ChangeWebhook implements jobs.Webhooks.
func (db *DB) ChangeWebhook(ctx context.Context, name string, change func(*jobs.Webhook) error) error {
	for {
		seen, err := db.rdb.HGet(ctx, webhooksKey, name).Result()
		if errors.Is(err, redis.Nil) {
			return fmt.Errorf("%w: %s", jobs.ErrNoWebhook, name)
		} else if err != nil {
			return fmt.Errorf("read the webhook %s: %w", name, err)
		}
		var w jobs.Webhook
		if err := json.Unmarshal([]byte(seen), &w); err != nil {
			return fmt.Errorf("read the webhook %s: %w", name, err)
		}
		if err := change(&w); err != nil {
			return err
		}
		w.Name = name
		raw, err := json.Marshal(w)
		if err != nil {
			return fmt.Errorf("encode the webhook %s: %w", name, err)
		}
		reply, err := db.scripts.changeWebhook.Run(ctx, db.rdb, []string{webhooksKey, hookFailsKey}, name, seen, raw).Text()
		switch {
		case err != nil:
			return fmt.Errorf("change the webhook %s: %w", name, err)
		case reply == replyOK:
			return nil
		}
	}
}

// RemoveWebhook implements jobs.Webhooks.
func (db *DB) RemoveWebhook(ctx context.Context, name string) error {
	removed, err := db.removeField(ctx, name, webhooksKey, hookFailsKey)
	switch {
	case err != nil:
		return fmt.Errorf("remove the webhook %s: %w", name, err)
	case !removed:
		return fmt.Errorf("%w: %s", jobs.ErrNoWebhook, name)
	}
	return nil
}
