//go:build integration

package api

import "time"

const fuzzDefault = 20 * time.Second
