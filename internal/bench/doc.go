// Package bench measures the farm on a real dockerd and a real redis-server and
// prints what came of it next to the bars the project holds itself to. `make
// bench` runs it. It has no code of its own: everything is a Go benchmark.
//
// What depends on the machine is measured as a ratio to a baseline in the same
// run, in blocks that alternate, so that a slow or a busy machine slows both.
// Nothing here fails because it took long.
package bench
