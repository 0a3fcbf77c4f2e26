//go:build !faults

package main

import "github.com/slipway-farm/slipway/internal/jobs"

// faulty changes nothing; see faults_on.go.
func faulty(r jobs.Records, q jobs.Queue) (jobs.Records, jobs.Queue) { return r, q }
