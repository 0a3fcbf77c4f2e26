package records

import (
	"embed"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// scripts are the Lua programs that change a record, each with common.lua
// and close.lua in front; those on calls of webhooks have calls.lua there.
type scripts struct {
	create, claim, adopt, renew, note, finish, endService, release, end, reissue, restore, add, pin, condemn, beat, takeSeat, keepSeat, announce, acknowledge, learn, replaceRecipe, setRecipe, beginRebuild, changeRebuild, forgetRebuild, beginBuild, holdBuild, endBuild, enterGroup, leaveGroup, callGroup, addWebhook, changeWebhook, addCalls, takeCalls, keepCall, redeliver *redis.Script
}

func loadScripts() *scripts {
	read := func(name string) string {
		b, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if err != nil { // the files are part of the program
			panic(err)
		}
		return string(b)
	}
	common := read("common") + read("close")
	script := func(name string) *redis.Script { return redis.NewScript(common + read(name)) }
	alone := func(name string) *redis.Script { return redis.NewScript(read(name)) }
	onCalls := func(name string) *redis.Script { return redis.NewScript(read("passed") + read("calls") + read(name)) }
	return &scripts{
		create: script("create"), claim: script("claim"), adopt: script("adopt"),
		renew: script("renew"), note: script("note"), finish: script("finish"), endService: script("endservice"),
		release: script("release"), end: script("end"), reissue: script("reissue"), restore: script("restore"), add: script("append"),
		pin: script("pin"), condemn: script("condemn"), beat: script("beat"),
		takeSeat: script("takeseat"), keepSeat: script("keepseat"),
		announce: alone("announce"), acknowledge: redis.NewScript(read("passed") + read("acknowledge")),
		learn: alone("learn"), replaceRecipe: alone("replacerecipe"), setRecipe: alone("setrecipe"),
		beginRebuild: alone("beginrebuild"), changeRebuild: alone("changerebuild"), forgetRebuild: alone("forgetrebuild"),
		beginBuild: alone("beginbuild"), holdBuild: alone("holdbuild"), endBuild: alone("endbuild"),
		enterGroup: script("entergroup"), leaveGroup: alone("leavegroup"), callGroup: alone("callgroup"),
		addWebhook: alone("addwebhook"), changeWebhook: alone("changewebhook"),
		addCalls: onCalls("addcalls"), takeCalls: onCalls("takecalls"), keepCall: onCalls("keepcall"), redeliver: onCalls("redeliver"),
	}
}

// The replies of scripts that Go tells apart. Those that are states stand for the
// state that a job was in.
const (
	replyOK        = "ok"
	replyMissing   = "missing"   // there is no record
	replyStale     = "stale"     // the nonce is not the owner's
	replyNewer     = "newer"     // the record is of a later version
	replyEarly     = "early"     // it is not time yet
	replyLate      = "late"      // the place in its group is given up
	replyExpired   = "expired"   // it waited too long
	replyAsked     = "asked"     // a worker has to end it
	replyFinished  = "finished"  // it has ended before
	replyAgain     = "again"     // what was asked for is done already
	replyFull      = "full"      // there are as many as there may be
	replyForbidden = "forbidden" // the table of moves has no such move
)

// before are the states that may become a state, as close.lua takes them.
func before(to jobs.State) string {
	list := " "
	for _, s := range to.Before() {
		list += string(s) + " "
	}
	return list
}
