// Package scale measures how the cost of a farm grows on one Redis: with its workers, with
// the jobs that wait, and with the jobs that have ended. Real workers with engines in
// memory run in several processes, on a real redis-server. `make scale` runs it at full
// size, docs/scaling.md has what came of it. It has no code of its own.
package scale
