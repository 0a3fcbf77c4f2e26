//go:build integration

package e2e_test

import (
	"fmt"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// registryCauses are registries that say no, and registries in trouble, for each of
// the ways to come to one.
func registryCauses(addr string, engine int, containerd bool) []cause {
	host := strings.ReplaceAll(addr, ".", `\.`)
	unwell := func(status string) verdict {
		return lost(jobs.KindRegistryUnavailable, fmt.Sprintf(`registry %s answered %s when it was asked for %s/`, host, status, host))
	}
	silent := lost(jobs.KindRegistryUnavailable, fmt.Sprintf(`no answer of a registry came from %s when it was asked for %s/`, host, host))
	var all []cause
	for _, p := range []struct {
		fault string // how the registry is told, see hosttest.Faulty
		want  verdict
	}{
		{"manifest-429", unwell("429 Too Many Requests")},
		{"manifest-wait", unwell("429 Too Many Requests")},
		{"manifest-500", unwell("500 Internal Server Error")},
		{"manifest-502", unwell("502 Bad Gateway")},
		{"manifest-503", unwell("503 Service Unavailable")},
		{"manifest-html", silent},
		{"manifest-reset", silent},
		{"token-429", unwell("429 Too Many Requests")},
		{"token-500", unwell("500 Internal Server Error")},
		{"token-503", unwell("503 Service Unavailable")},
		{"blob-429", unwell("429 Too Many Requests")},
		{"blob-503", unwell("503 Service Unavailable")},
		{"manifest-401", denial("registry " + host + ` denied access to `)},
		{"manifest-403", denial("registry " + host + ` denied access to `)},
		{"token-401", denial("registry " + host + ` denied access to `)},
		{"blob-403", denial("registry " + host + ` denied access to `)},
		{"manifest-404", mistake("", `was not found`)},
		{"manifest-norepo", mistake("", `was not found`)},
	} {
		image := addr + "/" + p.fault + "/app:1"
		base, run := p.want, p.want
		if p.want.kind == "" {
			base.kind, run.kind = jobs.KindBaseMissing, jobs.KindImageMissing
		}
		all = append(all,
			cause{"base image: " + p.fault, map[string]string{"Dockerfile": "FROM " + image + "\n"}, nil, base},
			cause{"image to run: " + p.fault, nil, []string{"--image", image, "--", "true"}, run},
		)
	}
	for _, p := range []struct {
		fault string
		want  verdict
	}{
		{"upload-401", denial(`authentication required`)},
		{"upload-403", denial(`requested access to the resource is denied`)},
		{"upload-quota", denial(`will exceed the configured upper limit of 10\.0 GiB`)},
		{"token-403", denial(`denied access to`)},
		{"publish-quota", denial(`will exceed the configured upper limit of 10\.0 GiB`)},
		{"publish-immutable", mistake(jobs.KindRegistryRefused, `cannot be overwritten because the tag is immutable`)},
		{"upload-413", mistake(jobs.KindRegistryRefused, `413 Request Entity Too Large`)},
		{"commit-413", mistake(jobs.KindRegistryRefused, `413`)},
		{"publish-413", mistake(jobs.KindRegistryRefused, `413`)},
		{"upload-norepo", mistake(jobs.KindRegistryRefused, `The repository with name 'app' does not exist in the registry`)},
		{"upload-429", notPushed(`429 Too Many Requests`)},
		{"publish-429", notPushed(`You have reached your pull rate limit`)},
		{"upload-wait", notPushed(`429 Too Many Requests`)},
		{"upload-500", notPushed(`500 Internal Server Error`)},
		{"upload-503", notPushed(`503 Service Unavailable`)},
		{"upload-reset", notPushed(`no answer of a registry came`)},
		{"commit-500", notPushed(`500 Internal Server Error|internal`)},
		{"commit-503", notPushed(`503 Service Unavailable`)},
		{"publish-500", notPushed(`500 Internal Server Error|internal`)},
		{"publish-503", notPushed(`503 Service Unavailable`)},
		{"publish-reset", notPushed(`no answer of a registry came`)},
		{"token-503", notPushed(`503 Service Unavailable`)},
	} {
		if engine >= 29 && p.fault == "publish-quota" { // it hands on words only
			p.want = mistake(jobs.KindRegistryRefused, p.want.says)
		}
		if containerd && engine < 29 && strings.HasPrefix(p.fault, "publish-") && p.fault != "publish-reset" {
			p.want.says = `manifests/1: [45]\d\d ` // it hands on the status only
		}
		tag := addr + "/" + p.fault + "/app:1"
		all = append(all, cause{
			"push: " + p.fault, // one layer, of which an engine sends five at a time
			map[string]string{"Dockerfile": "FROM scratch\nCOPY pushed /\n", "pushed": p.fault},
			[]string{"--push", "-t", tag},
			p.want,
		})
	}
	// One that takes the request and does not answer is in trouble; a job that has no more
	// time does not wait for it any longer.
	hangs := lost(jobs.KindRegistryUnavailable, fmt.Sprintf(`no answer of a registry came from %s when it was asked for %s/`, host, host))
	for _, fault := range []string{"manifest-hang", "token-hang"} {
		image := addr + "/" + fault + "/app:1"
		all = append(all,
			cause{"base image: " + fault, map[string]string{"Dockerfile": "FROM " + image + "\nRUN true\n"}, []string{"--build-timeout", "20s"}, hangs},
			cause{"image to run: " + fault, nil, []string{"--timeout", "10s", "--image", image, "--", "true"}, hangs},
		)
	}
	for _, p := range []struct {
		at, says string
		push     func(kind jobs.Kind, says string) verdict
	}{
		{"127.0.0.1:65001", `no answer of a registry came from 127\.0\.0\.1:65001`, func(_ jobs.Kind, says string) verdict { return notPushed(says) }},
		{"nosuchhost.invalid", `the address of the registry nosuchhost\.invalid could not be looked up`, lost}, // before anything is built
	} {
		away := lost(jobs.KindRegistryUnavailable, p.says)
		all = append(all,
			cause{"base image: nothing at " + p.at, map[string]string{"Dockerfile": "FROM " + p.at + "/app:1\n"}, nil, away},
			cause{"image to run: nothing at " + p.at, nil, []string{"--image", p.at + "/app:1", "--", "true"}, away},
			cause{"push: nothing at " + p.at, map[string]string{"Dockerfile": "FROM busybox\n"}, []string{"--push", "-t", p.at + "/app:1"}, p.push(jobs.KindRegistryUnavailable, p.says)},
		)
	}
	return all
}

// frontendCauses are what a Dockerfile wants of the engine that it does not have.
func frontendCauses(addr string, engine int) []cause {
	frontend := func(image string) map[string]string {
		return map[string]string{"Dockerfile": "# syntax=" + image + "\nFROM busybox\nCOPY a /\n", "a": "a"}
	}
	all := []cause{
		{"frontend: manifest-503", frontend(addr + "/manifest-503/fe:1"), nil, lost(jobs.KindRegistryUnavailable, `answered 503 Service Unavailable when it was asked for .*/fe:1`)},
		{"frontend: manifest-429", frontend(addr + "/manifest-429/fe:1"), nil, lost(jobs.KindRegistryUnavailable, `answered 429 Too Many Requests when it was asked for .*/fe:1`)},
		{"frontend: manifest-404", frontend(addr + "/manifest-404/fe:1"), nil, mistake(jobs.KindFrontendMissing, `the Dockerfile's frontend .*/fe:1 was not found`)},
		{"frontend: manifest-403", frontend(addr + "/manifest-403/fe:1"), nil, denial(`denied access to .*/fe:1`)},
		{"frontend: Docker Hub out of reach", frontend("docker/dockerfile:1"), nil, lost(jobs.KindRegistryUnavailable, `no answer of a registry came from docker\.io when it was asked for docker/dockerfile:1`)},
		{"frontend that the operator does not allow", frontend("evil.example.com/fe:1"), nil, refusal(jobs.KindFrontendNotAllowed, `evil\.example\.com/fe:1`)},
	}
	for _, p := range []struct {
		name, text string
		since      int // major version of the engine
	}{
		{"heredoc", "RUN <<EOF\necho hi\nEOF\n", 23},
		{"COPY --link", "COPY --link a /\n", 23},
		{"COPY --parents", "COPY --parents a /\n", 29},
		{"COPY --exclude", "COPY --exclude=b a /\n", 29},
	} {
		want := mistake(jobs.KindUnsupported, `^docker \S+ does not know what the Dockerfile uses: .*name a newer frontend`)
		if engine >= p.since {
			want = works()
		}
		all = append(all, cause{p.name, map[string]string{"Dockerfile": "FROM busybox\n" + p.text, "a": "a"}, nil, want})
	}
	return all
}
