//go:build !integration

package api

import "time"

// fuzzDefault keeps go test ./... short.
const fuzzDefault = 1500 * time.Millisecond
