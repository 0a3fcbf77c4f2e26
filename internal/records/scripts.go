package records

import (
	"context"
	"embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// scripts are the Lua programs that change a record, each with common.lua in
// front.
type scripts struct {
	create, claim, adopt, renew, note, finish, endService, release, end, reissue, restore, add, pin, condemn, beat, takeSeat, keepSeat *redis.Script
}

func loadScripts() *scripts {
	read := func(name string) string {
		b, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if err != nil { // the files are part of the program
			panic(err)
		}
		return string(b)
	}
	common := read("common")
	script := func(name string) *redis.Script { return redis.NewScript(common + read(name)) }
	return &scripts{
		create: script("create"), claim: script("claim"), adopt: script("adopt"),
		renew: script("renew"), note: script("note"), finish: script("finish"), endService: script("endservice"),
		release: script("release"), end: script("end"), reissue: script("reissue"), restore: script("restore"), add: script("append"),
		pin: script("pin"), condemn: script("condemn"), beat: script("beat"),
		takeSeat: script("takeseat"), keepSeat: script("keepseat"),
	}
}

// load makes sure that the server knows a script before it is used in a
// pipeline, where EVALSHA cannot fall back to EVAL.
func (*scripts) load(ctx context.Context, rdb redis.UniversalClient, script *redis.Script) error {
	known, err := script.Exists(ctx, rdb).Result()
	if err != nil {
		return fmt.Errorf("look for script: %w", err)
	}
	if len(known) == 1 && known[0] {
		return nil
	}
	if err := script.Load(ctx, rdb).Err(); err != nil {
		return fmt.Errorf("load script: %w", err)
	}
	return nil
}
