//go:build !faults

package main

import (
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/worker"
)

// faulty, faultyImages and faultyTags change nothing; see faults_on.go.
func faulty(d worker.Deps) worker.Deps { return d }

func faultyImages(e images.Engine) images.Engine { return e }

func faultyTags(t rebuild.Tags) rebuild.Tags { return t }
