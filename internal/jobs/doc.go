// Package jobs is the language of the farm: the job document, its states, the
// kinds of failure, the result, and the contracts between producers, the queue,
// Redis and the worker. It uses the standard library only, so that every
// other package can import it and it imports none of them.
//
// Producers (the enqueue command, an API) call [Service]. The worker reads
// [Job] records through [Claims] and writes a [Result]. The adapters (package
// queue, package records) implement the contracts; package jobstest has a memory
// version of each and the suites that hold all versions to the same promises.
package jobs
