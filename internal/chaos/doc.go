// Package chaos does to the real programs what goes wrong in the world, and
// judges what comes of it with package oracle: what it submitted, what it
// did to whom and when, and what the Docker daemons say they ran. It holds
// nothing but tests; they need root, and the build tags integration and chaos.
//
//	make chaos, make matrix                           all of it, some minutes each
//	go test -tags integration,chaos -run TestMatrix/killed/running ./internal/chaos -v
//	go test -tags integration,chaos -run TestChaos ./internal/chaos -v -chaos.seed 7
//
// TestMatrix cuts a worker or a producer off at each named step of a job's life
// (see internal/faults): killed and restarted, or stopped past its lease.
// TestMatrixOfRebuilds does it to the worker that moves a tag, or to its Redis.
// TestChaos gives a farm a mix of jobs, a rebuild of six images whose base has
// changed, and a monkey that draws faults from a seed. TestRecovery measures how
// long jobs stand still when a host, its daemon or Redis is away.
package chaos
