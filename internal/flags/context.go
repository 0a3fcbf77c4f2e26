package flags

import "github.com/slipway-farm/slipway/internal/jobs"

// contextRows are about what a build starts from.
func contextRows(o *Options) []Row {
	return []Row{
		one(text, "/context/digest", "digest", "sha256:... that the uncompressed tar behind a reference must have",
			func(s *jobs.Spec) *string { return &Part(&s.Context).Digest }).
			onReference("in a job document write it as context.digest; that of a directory or tar is computed"),
		one(text, "/context/credential", "credential", "`name` of the worker-side credential for an https:// context",
			func(s *jobs.Spec) *string { return &Part(&s.Context).Credential }).
			onReference("in a job document write it as context.credential"),
		one(text, "/context/dir", "context-dir", "`directory` of the archive behind a reference that is the context; '*' for its only top folder",
			func(s *jobs.Spec) *string { return &Part(&s.Context).Dir }).
			onReference("give that directory instead of PATH; in a job document write it as context.dir"),
		option(toggle, &o.KeepGit, "keep-git", "send .git, which is left out otherwise").withBake(),
		option(toggle, &o.NoLimits, "no-limits", "send a context that is over the default limits; the workers' policy decides").withBake(),
		option(choice("mode", "auto", "git", "keep"), &o.Modes, "modes", "permission bits in the context of a directory: git (only 0644 and 0755), keep (as they are), or auto (git in a checkout, else keep)").withBake(),
		option(text, &o.CacheDir, "cache-dir", "`directory` where packed directories are remembered, so that one which has not changed is not read again (env SLIPWAY_CACHE_DIR; default: slipway in the user's cache directory)").withBake(),
		option(toggle, &o.NoCacheDir, "no-cache-dir", "read the whole directory, and remember nothing of it (env SLIPWAY_NO_CACHE_DIR)").withBake(),
	}
}
