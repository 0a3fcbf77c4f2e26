package main

import "github.com/slipway-farm/slipway/internal/jobs"

// contextRows are about what a build starts from.
func contextRows(o *options) []row {
	return []row{
		one(text, "/context/digest", "digest", "sha256:... that the uncompressed tar behind a reference must have",
			func(s *jobs.Spec) *string { return &part(&s.Context).Digest }).
			onReference("in a job document write it as context.digest; that of a directory or tar is computed"),
		one(text, "/context/credential", "credential", "`name` of the worker-side credential for an https:// context",
			func(s *jobs.Spec) *string { return &part(&s.Context).Credential }).
			onReference("in a job document write it as context.credential"),
		one(text, "/context/dir", "context-dir", "`directory` of the archive behind a reference that is the context; '*' for its only top folder",
			func(s *jobs.Spec) *string { return &part(&s.Context).Dir }).
			onReference("give that directory instead of PATH; in a job document write it as context.dir"),
		option(toggle, &o.keepGit, "keep-git", "send .git, which is left out otherwise"),
		option(toggle, &o.noLimits, "no-limits", "send a context that is over the default limits; the workers' policy decides"),
		option(choice("mode", "auto", "git", "keep"), &o.modes, "modes", "permission bits in the context of a directory: git (only 0644 and 0755), keep (as they are), or auto (git in a checkout, else keep)"),
	}
}

// buildRows are those of docker buildx build, in its words.
func buildRows(o *options, getenv func(string) string) []row {
	return []row{
		more(texts, "/build/tags", "tag", "`name[:tag]` for the image; repeatable", func(s *jobs.Spec) *[]string { return &s.Build.Tags }).short("t"),
		option(text, &o.file, "file", "Dockerfile (default PATH/Dockerfile); without PATH: the job document").short("f").
			sets("/build/dockerfile").asking(neither),
		keyed(pairs(getenv), "/build/args", "build-arg", "build argument, KEY alone takes it from the environment; repeatable",
			func(s *jobs.Spec) *map[string]string { return &s.Build.Args }),
		one(text, "/build/target", "target", "stage to build", func(s *jobs.Spec) *string { return &s.Build.Target }),
		option(text, &o.platform, "platform", "os/arch[/variant] of the image, or of the worker when nothing is built").
			sets("/build/platform", "/requires/platform").asking(neither),
		more(parsed(secretsVar), "/build/secrets", "secret", "secret of the workers that RUN --mount=type=secret,id=.. may read; repeatable",
			func(s *jobs.Spec) *[]jobs.Secret { return &s.Build.Secrets }),
		more(parsed(secretsVar), "/build/ssh", "ssh", "key of the workers that RUN --mount=type=ssh,id=.. may sign with, such as id=default,name=deploy; repeatable",
			func(s *jobs.Spec) *[]jobs.Secret { return &s.Build.SSH }),
		one(toggle, "/build/push", "push", "push every tag to its registry after the build", func(s *jobs.Spec) *bool { return &s.Build.Push }),
		one(toggle, "/build/no_cache", "no-cache", "build every step anew", func(s *jobs.Spec) *bool { return &s.Build.NoCache }),
		one(toggle, "/build/pull", "pull", "ask the registry for newer base images", func(s *jobs.Spec) *bool { return &s.Build.Pull }),
		more(texts, "/build/cache_from", "cache-from", "`image` to take build cache from; repeatable", func(s *jobs.Spec) *[]string { return &s.Build.CacheFrom }),
		one(text, "/build/network", "build-network", "network of RUN steps: default or none", func(s *jobs.Spec) *string { return &s.Build.Network }).
			oneOf("default", "none"),
		one(parsed(durationVar), "/timeouts/build", "build-timeout", "end the build after this long", func(s *jobs.Spec) *jobs.Duration { return &s.Timeouts.Build }),
	}
}
