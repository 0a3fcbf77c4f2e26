// Package e2e tests the farm as its users meet it: the two programs as real
// processes, a real redis-server, and a real dockerd per build host in a
// network namespace of its own. It has no code of its own outside its tests;
// they carry the build tag integration and run with make test.
package e2e
