// Package simulation runs whole farms in one process, on a clock that jumps, and
// does to them everything that can go wrong. The worker, the reconciler and the
// producers' service are the real ones; store, queue, engine and artifacts are
// the fakes that pass the same suites as the real things. An outside oracle (package
// oracle) knows what was acknowledged, started and spoiled, and says what was broken.
//
//	go test ./internal/simulation                         a small one
//	go test ./internal/simulation -seed 0 -jobs 100000 -each 200    fresh seeds
//	go test ./internal/simulation -seed 7 -jobs 500       one farm again
//
// A seed decides what is submitted and which faults come; which goroutine runs
// first is the scheduler's choice, so that a seed is not one history but a
// narrow bundle of them.
package simulation
