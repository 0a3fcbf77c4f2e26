package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// jobIDs are the IDs that the words on the command line stand for.
func (a *app) jobIDs(ctx context.Context, words []string) ([]string, error) {
	svc, err := a.service(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]string, len(words))
	for i, word := range words {
		if list[i], err = jobID(ctx, svc, word); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// jobID is the ID that a word stands for: itself, or that of the one job whose ID begins so.
// A word that stands for none is returned as it is: the verb knows what that means for it.
func jobID(ctx context.Context, svc service, word string) (string, error) {
	if uuid.Validate(word) == nil || !jobs.IsID(word) {
		return word, nil
	}
	if _, err := svc.Get(ctx, word); !errors.Is(err, jobs.ErrNotFound) {
		return word, err
	}
	found, err := beginningWith(ctx, svc, word)
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return word, nil
	case len(found) > 1:
		return "", usage("type more of it; enqueue ls shows the jobs of this farm",
			"%s is the beginning of the IDs of several jobs: %s", word, strings.Join(found, ", "))
	}
	return found[0], nil
}

// someIDs is how many jobs are named for a word that stands for too many.
const someIDs = 5

// beginningWith returns some jobs whose IDs begin so, the newest first.
func beginningWith(ctx context.Context, svc service, prefix string) ([]string, error) {
	var found []string
	for q := (jobs.Query{IDPrefix: prefix, Limit: someIDs}); ; {
		page, err := svc.List(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("look for jobs whose ID begins with %s: %w", prefix, err)
		}
		for _, j := range page.Jobs {
			found = append(found, j.ID)
		}
		if page.NextPageToken == "" || len(found) >= someIDs {
			return found, nil
		}
		q.PageToken = page.NextPageToken
	}
}
