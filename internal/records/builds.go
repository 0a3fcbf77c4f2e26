package records

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var _ jobs.Builds = (*DB)(nil)

// BeginBuild implements jobs.Builds.
func (db *DB) BeginBuild(ctx context.Context, key string, b jobs.KeyedBuild) (has jobs.KeyedBuild, err error) {
	raw, err := json.Marshal(b)
	var reply []string
	if err == nil {
		reply, err = db.scripts.beginBuild.Run(ctx, db.rdb, []string{buildKey(key)}, b.By.Job, b.By.Attempt, raw, jobs.BuildHold.Milliseconds()).StringSlice()
	}
	if err == nil {
		err = json.Unmarshal([]byte(reply[0]), &has)
	}
	if err == nil && reply[1] != "" {
		err = json.Unmarshal([]byte(reply[1]), &has.Failed)
	}
	if err != nil {
		return jobs.KeyedBuild{}, fmt.Errorf("take the key of a build: %w", err)
	}
	return has, nil
}

// HoldBuild implements jobs.Builds.
func (db *DB) HoldBuild(ctx context.Context, key string, b jobs.KeyedBuild) (bool, error) {
	held, err := db.scripts.holdBuild.Run(ctx, db.rdb, []string{buildKey(key)}, b.By.Job, b.By.Attempt, jobs.BuildHold.Milliseconds()).Bool()
	return held, wrapped("hold the key of a build", err)
}

// EndBuild implements jobs.Builds.
func (db *DB) EndBuild(ctx context.Context, key string, b jobs.KeyedBuild) error {
	var doc, failed []byte
	var err error
	switch {
	case b.Done():
		doc, err = json.Marshal(b)
	case b.Failed != nil:
		failed, err = json.Marshal(b.Failed)
	}
	if err == nil {
		err = db.scripts.endBuild.Run(ctx, db.rdb, []string{buildKey(key)}, b.By.Job, b.By.Attempt, doc, failed, jobs.BuildKept.Milliseconds()).Err()
	}
	return wrapped("keep what came of a build", err)
}
