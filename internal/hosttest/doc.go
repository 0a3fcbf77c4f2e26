// Package hosttest starts what the integration tests run against: real
// redis-servers and real build hosts, each a dockerd in a network namespace of
// its own. A [Machine] is more than that: a Debian machine with systemd, on a [Network] with
// others. Everything has a directory of its own, can exist several times at
// once, and leaves nothing behind. Only tests use it; it needs root, dockerd,
// redis-server, systemd, ip and nsenter.
//
// Every Start function takes a testing.TB and cleans up by itself. The Run
// functions beside them are for TestMain: they return a cleanup.
//
// Unix sockets reach across network namespaces, loopback addresses do not: a
// registry that a host's dockerd is to reach listens with [Host.Listen], a port
// that a container publishes is reached with [Host.Dial].
package hosttest
