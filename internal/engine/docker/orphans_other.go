//go:build !linux

package docker

import "context"

// EndOrphans does nothing here: the daemon's processes are on another machine.
func (e *Engine) EndOrphans(context.Context) (ended int, err error) { return 0, nil }
