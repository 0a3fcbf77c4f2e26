//go:build !faults

package main

import "github.com/slipway-farm/slipway/internal/worker"

// faulty changes nothing; see faults_on.go.
func faulty(d worker.Deps) worker.Deps { return d }
