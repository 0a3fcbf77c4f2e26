package flags

import "github.com/slipway-farm/slipway/internal/jobs"

// buildRows are those of docker buildx build, in its words.
func buildRows(o *Options, getenv func(string) string) []Row {
	return []Row{
		more(texts, "/build/tags", "tag", "`name[:tag]` for the image; repeatable", func(s *jobs.Spec) *[]string { return &s.Build.Tags }).short("t"),
		option(text, &o.File, "file", "Dockerfile (default PATH/Dockerfile); without PATH: the job document").short("f").
			sets("/build/dockerfile").asking(neither),
		keyed(pairs(getenv), "/build/args", "build-arg", "build argument, KEY alone takes it from the environment; repeatable, the last of a key counts",
			func(s *jobs.Spec) *map[string]string { return &s.Build.Args }),
		held(pairs(nil), &o.Contexts, "/build/contexts", "build-context", "what a name in FROM, COPY --from and mounts stands for: NAME=docker-image://IMAGE or NAME=DIR; repeatable",
			func(s *jobs.Spec, v map[string]string) {
				for name, value := range v {
					put(&s.Build.Contexts, name, value)
				}
			}),
		one(text, "/build/target", "target", "stage to build", func(s *jobs.Spec) *string { return &s.Build.Target }),
		option(text, &o.Platform, "platform", "os/arch[/variant] of the image, or of the worker when nothing is built").
			sets("/build/platform", "/requires/platform").asking(neither),
		held(parsed(secretsVar), &o.Secrets, "/build/secrets", "secret", "secret of the workers that RUN --mount=type=secret,id=.. may read; repeatable",
			func(s *jobs.Spec, v []jobs.Secret) { s.Build.Secrets = append(s.Build.Secrets, v...) }).withBake(),
		held(parsed(secretsVar), &o.SSH, "/build/ssh", "ssh", "key of the workers that RUN --mount=type=ssh,id=.. may sign with, such as id=default,name=deploy; repeatable",
			func(s *jobs.Spec, v []jobs.Secret) { s.Build.SSH = append(s.Build.SSH, v...) }).withBake(),
		held(toggle, &o.Push, "/build/push", "push", "push every tag to its registry after the build",
			replace(func(s *jobs.Spec) *bool { return &s.Build.Push })).withBake(),
		one(toggle, "/build/no_cache", "no-cache", "build every step anew", func(s *jobs.Spec) *bool { return &s.Build.NoCache }).withBake(),
		one(toggle, "/build/pull", "pull", "have registries say what base images are, whatever the host has", func(s *jobs.Spec) *bool { return &s.Build.Pull }).withBake(),
		more(texts, "/build/cache_from", "cache-from", "`image` to take build cache from; repeatable", func(s *jobs.Spec) *[]string { return &s.Build.CacheFrom }),
		one(text, "/build/network", "build-network", "network of RUN steps: default or none", func(s *jobs.Spec) *string { return &s.Build.Network }).
			oneOf("default", "none"),
		one(parsed(Duration), "/timeouts/build", "build-timeout", "end the build after this long", func(s *jobs.Spec) *jobs.Duration { return &s.Timeouts.Build }).withBake(),
	}
}
