// Package manifests has a test of deploy/kubernetes: each document is decoded into
// Kubernetes' own types, and what it names is there. `make lint` runs it. That the programs
// know the flags and variables in them is tested beside the programs, in cmd/worker and
// cmd/enqueue.
package manifests
