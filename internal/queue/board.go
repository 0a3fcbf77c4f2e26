package queue

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// The keys of a queue's board share the hash tag of the queue:
//
//	slipway:{builds}:routes            hash, the routes that tickets have, by their IDs
//	slipway:{builds}:turns:<priority>  hash, how many turns each name has had, in units; "*"
//	                                   is where the one stood that was handed out last
//	slipway:{builds}:open:<priority>:<route ID>
//	                                   sorted set, names that have tickets there, by turns,
//	                                   each with since when its oldest waits in front, so
//	                                   that those with as many turns are in that order
//	slipway:{builds}:lines:<priority>:<route ID>:<name>
//	                                   sorted set, recipes of the name's tickets there, by
//	                                   since when the oldest of each waits; "" is none
//	slipway:{builds}:ages:<priority>:<route ID>:<name>[~<recipe>]
//	                                   list, since when each ticket of the lane waits, in
//	                                   microseconds of Redis TIME
//	slipway:{builds}:warm:<recipe>     sorted set, hosts that have images or caches of a
//	                                   recipe, by the second until which that counts
//	slipway:{builds}:warmth:<host>     set, the recipes that were noted of a host
//	slipway:{builds}:waiting           hash, how many tickets each "<priority>:<route ID>" has
//	slipway:{builds}:bell:<route ID>   list that idle workers block on; each element wakes one
//	slipway:{builds}:bell:+<host>      the same for one worker alone
//	slipway:{builds}:paused            hash, the priorities that an operator has paused
//	slipway:{builds}:weights           hash, turns that a name has for each one of others
//
// The board follows asynq's lists, which are in other slots of a cluster: a ticket is
// pushed first and put on the board then. What a crash leaves between them is found by
// [Queue.Listed].
func boardKey(queue, part string) string { return boardPrefix(queue) + part }

func boardPrefix(queue string) string { return "slipway:{" + queue + "}:" }

func routesKey(queue string) string { return boardKey(queue, "routes") }

func waitingKey(queue string) string { return boardKey(queue, "waiting") }

func (l lane) place() string { return string(l.priority) + ":" + l.route }

func (l lane) turnsKey() string { return boardKey(l.queue, "turns:"+string(l.priority)) }
func (l lane) openKey() string  { return boardKey(l.queue, "open:"+l.place()) }
func (l lane) linesKey() string { return boardKey(l.queue, "lines:"+l.place()+":"+l.turn) }
func (l lane) agesKey() string  { return boardKey(l.queue, "ages:"+l.place()+":"+l.line()) }

// waitsSince reads from an entry of openKey since when the oldest ticket of its lane waits.
func waitsSince(entry string) time.Time {
	age, _, _ := strings.Cut(entry, " ")
	us, _ := strconv.ParseInt(age, 10, 64)
	return time.UnixMicro(us).UTC()
}

func bellKey(queue, route string) string { return boardKey(queue, "bell:"+route) }

func warmKey(queue, recipe string) string { return boardKey(queue, "warm:"+recipe) }

func warmHostKey(queue, host string) string { return boardKey(queue, "warmth:"+host) }

// routesChannel carries "queue route-ID route" of each route that is new, as a hint.
const routesChannel = "slipway:routes"

const (
	// maxBells bounds a bell: more idle workers than this are woken by those before them.
	maxBells = 16
	// maxWarmBells is how many hosts that are warm for a ticket are woken by name.
	maxWarmBells = 4
	// turnUnit is what one turn counts; a name of weight 4 pays a quarter of it.
	turnUnit = jobs.MaxWeight
)

// board is which lanes have tickets, and whose turn it is.
type board struct {
	rdb                             redis.UniversalClient
	open, pick, close, forget, warm *redis.Script
}

func newBoard(rdb redis.UniversalClient) board {
	script := func(name string) *redis.Script {
		b, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if err != nil { // the files are part of the program
			panic(err)
		}
		return redis.NewScript(string(b))
	}
	return board{rdb, script("open"), script("pick"), script("close"), script("forget"), script("warm")}
}

// opening is what there is to note of a lane: n more tickets, or n at least in all.
type opening struct {
	lane  lane
	route jobs.Route
	n     int
	inAll bool
}

// note puts lanes on the board, and wakes a worker for each ticket that is new there.
func (b board) note(ctx context.Context, lanes ...opening) error {
	if len(lanes) == 0 {
		return nil
	}
	run := func(ctx context.Context, c redis.Scripter, o opening) *redis.Cmd {
		l := o.lane
		keys := []string{routesKey(l.queue), l.turnsKey(), l.openKey(), l.linesKey(), l.agesKey(), bellKey(l.queue, l.route), waitingKey(l.queue), warmKey(l.queue, l.recipe)}
		args := []any{
			l.turn, l.recipe, l.route, string(o.route), o.n, flag(o.inAll), maxBells, routesChannel, l.queue + " " + l.route + " " + string(o.route), l.place(),
			bellKey(l.queue, ownBell("")), maxWarmBells, ownBellLife.Milliseconds(),
		}
		if c == b.rdb {
			return b.open.Run(ctx, c, keys, args...)
		}
		return b.open.EvalSha(ctx, c, keys, args...)
	}
	// The first one teaches the server the script; in a pipeline EVALSHA has no way back.
	if err := run(ctx, b.rdb, lanes[0]).Err(); err != nil {
		return fmt.Errorf("note tickets of %s: %w", lanes[0].lane, err)
	}
	if len(lanes) == 1 {
		return nil
	}
	pipe := b.rdb.Pipeline()
	for _, o := range lanes[1:] {
		run(ctx, pipe, o)
	}
	_, err := pipe.Exec(ctx)
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // another node of a cluster has not seen it
		for _, o := range lanes[1:] {
			if err := run(ctx, b.rdb, o).Err(); err != nil {
				return fmt.Errorf("note tickets of %s: %w", o.lane, err)
			}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("note tickets of %d lanes: %w", len(lanes), err)
	}
	return nil
}

// flag is a truth value for a script.
func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

// rouse wakes workers for the tickets of a part of a queue that was held back. How many
// there are does not matter: who finds none sleeps again.
func (b board) rouse(ctx context.Context, queue string, p jobs.Priority) error {
	ids, err := b.rdb.HKeys(ctx, routesKey(queue)).Result()
	if err != nil {
		return err
	}
	ids = append(ids, "")
	has := make([]*redis.IntCmd, len(ids))
	pipe := b.rdb.Pipeline()
	for i, id := range ids {
		has[i] = pipe.Exists(ctx, inbox(queue, p).with(id, "").openKey())
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	var open []string
	for i, id := range ids {
		if has[i].Val() > 0 {
			open = append(open, id)
		}
	}
	return b.ring(ctx, queue, maxBells, open)
}

// picked is a turn in a lane.
type picked struct {
	lane lane
	left int // tickets that the lane should still have
}

// ring wakes n workers for each of these routes of a queue.
func (b board) ring(ctx context.Context, queue string, n int, routes []string) error {
	pipe := b.rdb.Pipeline()
	for _, r := range routes {
		pipe.LPush(ctx, bellKey(queue, r), slices.Repeat([]any{1}, n)...)
		pipe.LTrim(ctx, bellKey(queue, r), 0, maxBells-1)
	}
	_, err := pipe.Exec(ctx)
	return err
}

// among lists those of the routes that have tickets in the queue, paused or not. It costs
// one command, since that is what idle workers do all day, and its answer grows with the
// routes that have tickets, not with those that a worker knows.
func (b board) among(ctx context.Context, queue string, routes []string) ([]string, error) {
	places, err := b.rdb.HKeys(ctx, waitingKey(queue)).Result()
	if err != nil {
		return nil, fmt.Errorf("look for tickets in queue %s: %w", queue, err)
	}
	open := make(map[string]bool, len(places))
	for _, place := range places {
		_, route, _ := strings.Cut(place, ":")
		open[route] = true
	}
	var found []string
	for _, r := range routes {
		if open[r] {
			found = append(found, r)
		}
	}
	return found, nil
}

// taker is a host that asks for tickets.
type taker struct {
	host string
	// wait is for how long tickets are left to hosts that are warm for them; 0 leaves none.
	wait time.Duration
}

// next hands out a turn in a lane of the queue with one of these routes, priorities in
// this order; false when none has a ticket for t now. then is after how long the next one
// that was seen and left to other hosts is for any, 0 when there is none.
func (b board) next(ctx context.Context, t taker, queue string, priorities []jobs.Priority, routes []string) (p picked, then time.Duration, ok bool, err error) {
	args := []any{boardPrefix(queue), turnUnit, t.host, t.wait.Microseconds(), len(priorities)}
	for _, p := range priorities {
		args = append(args, string(p))
	}
	for _, r := range routes {
		args = append(args, r)
	}
	reply, err := b.pick.Run(ctx, b.rdb, []string{pauseKey(queue), weightsKey(queue), waitingKey(queue)}, args...).Slice()
	switch {
	case errors.Is(err, redis.Nil):
		return picked{}, 0, false, nil
	case err != nil:
		return picked{}, 0, false, fmt.Errorf("ask whose turn it is in queue %s: %w", queue, err)
	}
	text := func(i int) string { s, _ := reply[i].(string); return s }
	number := func(i int) int64 { n, _ := reply[i].(int64); return n }
	if len(reply) == 1 {
		return picked{}, time.Duration(number(0)) * time.Microsecond, false, nil
	}
	l := inbox(queue, jobs.Priority(text(0))).with(text(1), line(text(2), text(3)))
	return picked{l, int(number(4))}, time.Duration(number(5)) * time.Microsecond, true, nil
}

// foundEmpty notes that asynq had no ticket in a lane that was picked.
func (b board) foundEmpty(ctx context.Context, p picked) error {
	if p.left == 0 { // it is off the board
		return nil
	}
	err := b.close.Run(ctx, b.rdb, []string{p.lane.openKey(), p.lane.linesKey(), p.lane.agesKey(), waitingKey(p.lane.queue)}, p.lane.turn, p.lane.recipe, strconv.Itoa(p.left), p.lane.place()).Err()
	if err != nil {
		return fmt.Errorf("note that %s is empty: %w", p.lane, err)
	}
	return nil
}

// drop forgets a route of a queue unless it has tickets.
func (b board) drop(ctx context.Context, queue, route string) error {
	keys := []string{routesKey(queue), bellKey(queue, route)}
	for _, in := range inboxes(queue) {
		keys = append(keys, in.with(route, "").openKey())
	}
	if err := b.forget.Run(ctx, b.rdb, keys, route).Err(); err != nil {
		return fmt.Errorf("forget route %s of queue %s: %w", route, queue, err)
	}
	return nil
}

// forgetTurns forgets a name's turns once those of all others have caught up: then it is
// as if it came anew.
func (b board) forgetTurns(ctx context.Context, l lane) error {
	had, err := b.rdb.HMGet(ctx, l.turnsKey(), l.turn, "*").Result()
	if err != nil {
		return fmt.Errorf("look for the turns of lane %s: %w", l, err)
	}
	number := func(v any) int64 {
		s, _ := v.(string)
		n, _ := strconv.ParseInt(s, 10, 64)
		return n
	}
	if had[0] == nil || number(had[0]) > number(had[1])+turnUnit {
		return nil
	}
	if err := b.rdb.HDel(ctx, l.turnsKey(), l.turn).Err(); err != nil {
		return fmt.Errorf("forget the turns of lane %s: %w", l, err)
	}
	return nil
}
