package records

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Every key of the farm is built here, but for the board of a queue, which belongs to
// internal/queue as asynq's own keys do. Keys of one job share the hash tag {id}, so that each script touches one slot of a cluster; the indexes are
// derived from the records and repaired by the reconciler.

// recordVersion is written into each record; a record of a newer version is
// left for workers that understand it.
const recordVersion = 1

// jobKey is a hash, the record; times are Unix microseconds of Redis TIME:
//
//	v state stage attempt seq retries losses created queued started finished
//	claimed not_before expires start_by worker host nonce lease name cid deadline cancel
//	submitter traceparent kept ended lb en e1 e2 ...
//
// start_by is a plain producer's deadline for the first attempt, there when expires
// comes from it.
// submitter is who submitted the job, and traceparent the trace that it belongs to; they
// are there when the producer said so.
// nonce proves the owner, name and cid the container's, lb the bytes in
// the live log tail. kept is 1 while the job keeps a service, which goes on under
// the nonce, and ended is when a kept service ended. e<n> is an event,
// "milliseconds type text", and en the number of the newest.
func jobKey(id string) string { return "slipway:{" + id + "}:job" }

// specKey is a string, the normalized document as JSON; it never changes.
func specKey(id string) string { return "slipway:{" + id + "}:spec" }

// resultKey is a string, the accepted Result as JSON. It is written once, and for
// a kept service once more, with its end and its whole log.
func resultKey(id string) string { return "slipway:{" + id + "}:result" }

// pastKey is a list of the attempts before the current one, the oldest first:
//
//	<claimed> <ended> {"attempt": ..., "failure": ...}
//
// with times as in the record.
func pastKey(id string) string { return "slipway:{" + id + "}:past" }

// partialKey is a string, what the running attempt noted of its Result so far.
func partialKey(id string) string { return "slipway:{" + id + "}:partial" }

// newsKey is a stream whose only entry has the number of the newest event as its
// ID. It lives for seconds: readers who have seen all events block on it.
func newsKey(id string) string { return "slipway:{" + id + "}:news" }

// logKey is a stream of {a: attempt, o: offset, d: frames}, the live log tail,
// bounded in bytes.
func logKey(id string) string { return "slipway:{" + id + "}:log" }

// staleKey is a list of results that were reported without owning the job, the
// newest three.
func staleKey(id string) string { return "slipway:{" + id + "}:stale" }

// endedKey is a stream of {id, state}, an entry for each job that has ended, which
// are numbered from 1-0 on; the oldest of more than endedMost fall off. announcedKey
// is a sorted set of the IDs in it, by their number, so that a job comes once.
// cursorsKey is a hash, the last entry that each reader is done with, under lastEnding the last one
// that there is, and under callsLeft "1" while calls of webhooks have not ended. They share a slot, which is another than the
// record's.
const (
	endedKey     = "slipway:{ended}:stream"
	announcedKey = "slipway:{ended}:ids"
	cursorsKey   = "slipway:{ended}:cursors"
	lastEnding   = "*" // no reader has these names
	callsLeft    = "!"
)

// recipesKey is a hash, the recipe of each name as it was learned, with when its job
// ended, in microseconds, and that job's ID in front:
//
//	<made>:<job> {"name": ..., "spec": ..., "materials": ...}
//
// recipeSettingsKey is a hash, what operators decided about them, as JSON. They share the
// slot of the ended jobs: where a failover takes a recipe back, it takes back with it that
// the reader of the ended jobs is past its job.
const (
	recipesKey        = "slipway:{ended}:recipes"
	recipeSettingsKey = "slipway:{ended}:recipesettings"
)

// webhooksKey is a hash, the farm's webhooks by their names, as JSON; hookFailsKey is one,
// how many calls of each were given up in a row. hookCallsKey is a hash, calls by their IDs:
//
//	1 {"id": ..., "hook": ..., "job": ..., "event": ...}
//
// with 0 in front when the call has ended. hookDueKey is a sorted set of the calls of an
// endpoint that are due, by when, in microseconds, and hookEndpointsKey is one of the
// endpoints, by when their first call is due. hookLinesKey is a hash, the IDs of the calls of
// a job to an endpoint in their order: only the first is due. hookLogKey is a sorted set of
// calls by when something happened to them. They share the slot of the ended jobs: the
// cursor of who makes calls of them is never ahead of the calls.
const (
	webhooksKey      = "slipway:{ended}:webhooks"
	hookFailsKey     = "slipway:{ended}:hookfails"
	hookCallsKey     = "slipway:{ended}:hookcalls"
	hookEndpointsKey = "slipway:{ended}:hookendpoints"
	hookLinesKey     = "slipway:{ended}:hooklines"
	hookLogKey       = "slipway:{ended}:hooklog"
)

func hookDueKey(endpoint string) string { return "slipway:{ended}:hookdue:" + endpoint }

// rebuildsKey is a hash, each rebuild by its ID as JSON; rebuildKey is one, the images of a
// rebuild by their names. They are changed together.
const rebuildsKey = "slipway:{ended}:rebuilds"

func rebuildKey(id string) string { return "slipway:{ended}:rebuild:" + id }

// basesKey is a hash, what registries have under the name of each base, as JSON; watchKey
// is a string whose expiry says when they are asked again.
const (
	basesKey = "slipway:{ended}:bases"
	watchKey = "slipway:watch"
)

// digestKey is a string, what the registry of a full name had under it less than a minute
// ago.
func digestKey(ref string) string { return "slipway:digest:" + ref }

// buildKey is a hash, the build with a key: job and attempt that have it, doc with what is
// known as JSON, and done once there is an image; failed is how it failed before, as JSON.
func buildKey(key string) string { return "slipway:build:" + key }

// quietKey is a string that expires when the registry may be asked for its bases again.
func quietKey(registry string) string { return "slipway:quiet:" + registry }

// movedKey is a string that expires, where a process last moved a reader to.
func movedKey(reader, nonce string) string { return "slipway:{ended}:moved:" + reader + ":" + nonce }

// stateKey is a sorted set of job IDs by creation time, one per state.
func stateKey(s jobs.State) string { return "slipway:jobs:" + string(s) }

// deadlinesKey is a sorted set of job IDs by when they are given up if no worker has them
// by then, in microseconds. A job that a worker has may be in it; its record decides.
const deadlinesKey = "slipway:deadlines"

// The keys of a concurrency group share a slot, which is another than the records':
// membersKey is a sorted set of the jobs that have a place, by until when their claim had
// to be written; waitingKey is a sorted set of those that wait for one, by creation time;
// calledKey is a set of those of them that have got a ticket since. groupsKey is a hash,
// the limit of each group that has any.
func membersKey(group string) string { return "slipway:{group:" + group + "}:members" }
func waitingKey(group string) string { return "slipway:{group:" + group + "}:waiting" }
func calledKey(group string) string  { return "slipway:{group:" + group + "}:called" }

func groupKeys(group string) []string {
	return []string{membersKey(group), waitingKey(group), calledKey(group)}
}

const groupsKey = "slipway:groups"

// nameKey is a sorted set of the job IDs of a recipe by creation time.
func nameKey(name string) string { return "slipway:name:" + name }

// tenantKey is a sorted set of the job IDs of a tenant by creation time.
func tenantKey(tenant string) string { return "slipway:tenant:" + tenant }

// labelKey is a sorted set of the job IDs that carry key=value.
func labelKey(label string) string { return "slipway:label:" + label }

// hostKey is a set of the job IDs that a host runs.
func hostKey(host string) string { return "slipway:host:" + host }

// keptKey is a sorted set of job IDs with a kept service on the host, by the
// time at which it ends.
func keptKey(host string) string { return "slipway:kept:" + host }

// upKey is a sorted set of the job IDs with a kept service on any host, by creation
// time.
const upKey = "slipway:up"

// hostsKey is a hash, the registry of hosts: a field for each, by the host's name,
// with when it was last heard of, in microseconds, and what it said of itself then
// as JSON:
//
//	<seen> {"name": ..., "worker": ..., "state": ..., "running": ..., "every": ...}
//
// A worker removes its host when it ends in order. One that died stays for
// jobs.HostForgotten, and goes when the next new host comes.
const hostsKey = "slipway:hosts"

// ordersKey is a hash, what operators want of hosts: a field for each host that has an
// order, by the host's name, with a jobs.HostOrder as JSON:
//
//	{"kind": "drain", "by": ..., "reason": ..., "since": ..., "timeout": ..., "worker": ...}
//
// since is by Redis TIME. An order stays when its host leaves the registry, and goes when
// the host is resumed; nothing else removes it.
const ordersKey = "slipway:orders"

// seatKey is a hash, which process is a host to the farm; times are Unix
// microseconds of Redis TIME:
//
//	nonce turn worker daemon lease taken seen left
//
// nonce is the holder's, turn grows with every holder, daemon is the ID of the
// Docker daemon that has the host's containers. It expires jobs.SeatForgotten after
// its holder was last seen.
func seatKey(host string) string { return "slipway:seat:" + host }

// reserveKey is a string "id digest" that an idempotency key is bound to; key is that of
// jobs.Spec.ReservedKey.
func reserveKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "slipway:idem:" + hex.EncodeToString(sum[:])
}

// pinsKey is a sorted set of digests that no collector may delete from the artifact
// store, by the time until which, in microseconds; condemnedKey is one of those
// that are being deleted, by the time since when. They share a slot.
const (
	pinsKey      = "slipway:{artifacts}:pins"
	condemnedKey = "slipway:{artifacts}:condemned"
)

// farmKey is a string, an ID that this Redis has from its first day on.
const farmKey = "slipway:farm"

// storeKey is a string, the identity of the artifact store that the farm has marked
// as its own, as in the store's mark (artifacts.Mark); "*" when the farm takes any.
// It comes with the first start of a worker and changes only when an operator says
// so: then no other store is the farm's.
const storeKey = "slipway:store"

// markingKey is a string that expires: it is some worker's turn to mark the first
// store of the farm.
const markingKey = "slipway:store:marking"

// farmNameKey is a string, the name that workers know the farm by.
const farmNameKey = "slipway:farm:name"

// collectKey is a string whose expiry says when garbage is collected again.
const collectKey = "slipway:collect"

// leaderKey is a string, the nonce of the worker that reconciles; it expires.
const leaderKey = "slipway:leader"

// promoterKey is a string, the nonce of the worker that moves tags for rebuilds; it expires.
const promoterKey = "slipway:promoter"

// tokensKey is a hash, the tokens of the HTTP API by their IDs, as JSON. trailKey is a
// stream of {d: entry as JSON}, what was done with them. Neither workers nor producers need
// them.
const (
	tokensKey = "slipway:tokens"
	trailKey  = "slipway:trail"
)

// changesChannel carries IDs of jobs that are in another state now, as a hint.
const changesChannel = "slipway:changes"

// callTurnKey is a string, the nonce of the worker that calls webhooks; it expires.
const callTurnKey = "slipway:caller"

// cancelChannel carries IDs of jobs that a user wants ended, and names of hosts
// whose holders are asked to keep their seats, and order:<host> when a host has another
// order, as a hint.
const cancelChannel = "slipway:cancel"
