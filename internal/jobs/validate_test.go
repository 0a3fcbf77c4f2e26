package jobs_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// Shorthands for documents that are good but for the part in question.
func withTop(fields string) string { return `{"run":{"image":"busybox"},` + fields + `}` }
func withRun(fields string) string { return `{"run":{"image":"busybox",` + fields + `}}` }

func withBuild(fields string) string {
	return `{"context":{"ref":"file:///srv/a.tar"},"build":{` + fields + `}}`
}

func withContext(fields string) string { return `{"build":{},"context":{` + fields + `}}` }

// withPorts has port 80 published.
func withPorts(fields string) string { return withRun(`"ports":[{"container":80}],` + fields) }

func list(n int, item string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
}

// manySecrets is a list of n secrets with IDs of their own.
func manySecrets(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`{"id":"s%d"}`, i)
	}
	return "[" + strings.Join(all, ",") + "]"
}

// vars is an object of n text fields that start with prefix.
func vars(n int, prefix, value string) string {
	fields := make([]string, n)
	for i := range fields {
		fields[i] = fmt.Sprintf("%q:%q", fmt.Sprintf("%s%d", prefix, i), value)
	}
	return "{" + strings.Join(fields, ",") + "}"
}

// document is a job document with what Validate says of it: codes and places, "" for nothing.
type document struct{ doc, want string }

// documents are good and bad ones of each kind.
func documents() []document {
	return []document{
		// The document as a whole.
		{`{}`, "spec_empty"},
		{`{"name":"x"}`, "spec_empty"},
		{`{"build":{}}`, "context_missing /context"},
		{`{"build":{},"run":{}}`, "context_missing /context"},
		{`{"run":{"image":"busybox"},"context":{"ref":"file:///a.tar"}}`, "context_unused /context"},
		{withRun(`"command":["echo"]`), ""},
		{withBuild(``), ""},
		{`{"context":{"ref":"file:///a.tar"},"build":{},"run":{}}`, ""},
		{withTop(`"spec_version":1`), ""},
		{withTop(`"spec_version":2`), "spec_version_unsupported /spec_version"},
		{withTop(`"spec_version":-1`), "spec_version_unsupported /spec_version"},
		{withTop(`"name":"a.b_c-1"`), ""},
		{withTop(`"name":"-a"`), "name_invalid /name"},
		{withTop(`"tenant":"A b"`), "tenant_invalid /tenant"},
		{withTop(`"concurrency":{"group":"deploy","limit":1}`), ""},
		{withTop(`"concurrency":{"group":"Deploy","limit":1}`), "concurrency_invalid /concurrency/group"},
		{withTop(`"concurrency":{"group":"deploy"}`), "concurrency_invalid /concurrency/limit"},
		{withTop(`"concurrency":{"group":"deploy","limit":10001}`), "concurrency_invalid /concurrency/limit"},
		{withTop(`"notify":[]`), ""},
		{withTop(`"notify":[{"url":"https://ci.example.com"},{"url":"HTTP://10.0.0.1:8080/x?y=z","secret":"ci","states":["failed","expired"]}]`), ""},
		{withTop(`"notify":[{"url":"https://a"},{"url":"https://b"},{"url":"https://c"},{"url":"https://d"},{"url":"https://e"}]`), "list_too_long /notify"},
		{withTop(`"notify":[{"url":"https://a"},{"url":"https://a"}]`), "notify_duplicate /notify/1/url"},
		{withTop(`"notify":[{"secret":"ci"}]`), "url_invalid /notify/0/url"},
		{withTop(`"notify":[{"url":"ftp://a"}]`), "url_invalid /notify/0/url"},
		{withTop(`"notify":[{"url":"https://"}]`), "url_invalid /notify/0/url"},
		{withTop(`"notify":[{"url":"https://me:secret@a/"}]`), "url_invalid /notify/0/url"},
		{withTop(`"notify":[{"url":"https://a/x#y"}]`), "url_invalid /notify/0/url"},
		{withTop(`"notify":[{"url":"https://a/x y"}]`), "url_invalid /notify/0/url"},
		{withTop(`"notify":[{"url":"https://a/` + strings.Repeat("x", 2048) + `"}]`), "url_invalid /notify/0/url"},
		{withTop(`"notify":[{"url":"https://a:port/"}]`), "url_invalid /notify/0/url"},
		{withTop(`"notify":[{"url":"https://a","secret":"webhooks/ci"}]`), "secret_invalid /notify/0/secret"},
		{withTop(`"notify":[{"url":"https://a","states":["running"]}]`), "state_invalid /notify/0/states/0"},
		{withTop(`"notify":[{"url":"https://a","states":["failed","failed"]}]`), "state_invalid /notify/0/states/1"},
		{withTop(`"name":"A"`), "name_invalid /name"},
		{withTop(`"name":"../x"`), "name_invalid /name"},
		{withTop(`"name":"a\n"`), "name_invalid /name"},
		{withTop(`"name":"` + strings.Repeat("a", 65) + `"`), "name_invalid /name"},
		{withTop(`"queue":"special-1"`), ""},
		{withTop(`"queue":"a.b"`), "queue_invalid /queue"},
		{withTop(`"queue":"{x}"`), "queue_invalid /queue"},
		{withTop(`"queue":"` + strings.Repeat("a", 33) + `"`), "queue_invalid /queue"},
		{withTop(`"priority":"low"`), ""},
		{withTop(`"priority":"urgent"`), "priority_invalid /priority"},
		{withTop(`"idempotency_key":"` + strings.Repeat("k", 255) + `"`), ""},
		{withTop(`"idempotency_key":"` + strings.Repeat("k", 256) + `"`), "idempotency_key_invalid /idempotency_key"},
		{withTop(`"retries":10`), ""},
		{withTop(`"retries":11`), "retries_invalid /retries"},
		{withTop(`"retries":-1`), "retries_invalid /retries"},
		{withTop(`"requires":{"platform":"linux/arm/v7","labels":{"gpu":"a100"}}`), ""},
		{withTop(`"requires":{"platform":"linux"}`), "platform_invalid /requires/platform"},
		{withTop(`"requires":{"labels":{"slipway.x":"1"}}`), "label_reserved /requires/labels/slipway.x"},

		// Labels.
		{withTop(`"labels":{"a/b.c-d_e":"any value \u00e4"}`), ""},
		{withTop(`"labels":{"slipway.job":"1"}`), "label_reserved /labels/slipway.job"},
		{withTop(`"labels":{"com.docker.x":"1"}`), "label_reserved /labels/com.docker.x"},
		{withTop(`"labels":{"":"1"}`), "label_invalid /labels/"},
		{withTop(`"labels":{"a=b":"1"}`), "label_invalid /labels/a=b"},
		{withTop(`"labels":{"a/":"1"}`), "label_invalid /labels/a~1"},
		{withTop(`"labels":{"a":"x\u0000"}`), "label_invalid /labels/a"},
		{withTop(`"labels":{"a":"` + strings.Repeat("x", 257) + `"}`), "label_invalid /labels/a"},
		{withTop(`"labels":` + vars(33, "l", "")), "labels_too_many /labels"},

		{`{"build":{"ssh":[{"id":"default","name":"deploy"},{"id":"b"}]},"context":{"ref":"file:///a.tar"}}`, ""},
		{`{"build":{"ssh":[{"id":"a","name":"x"},{"id":"a"}]},"context":{"ref":"file:///a.tar"}}`, "secret_invalid /build/ssh/1/id"},
		{`{"build":{"ssh":[{"name":"x"}]},"context":{"ref":"file:///a.tar"}}`, "secret_invalid /build/ssh/0/id"},
		{`{"build":{"ssh":[{"id":"../x"}]},"context":{"ref":"file:///a.tar"}}`, "secret_invalid /build/ssh/0/id"},

		// Timeouts.
		{withTop(`"timeouts":{"queue":"168h","fetch":"1s","build":"24h","push":"0s","run":"90s","idle":"2m"}`), ""},
		{withTop(`"timeouts":{"queue":"168h1s"}`), "timeout_invalid /timeouts/queue"},
		{withTop(`"timeouts":{"fetch":"999ms"}`), "timeout_invalid /timeouts/fetch"},
		{withTop(`"timeouts":{"build":"24h1s"}`), "timeout_invalid /timeouts/build"},
		{withTop(`"timeouts":{"push":"-1s"}`), "timeout_invalid /timeouts/push"},
		{withTop(`"timeouts":{"run":"2540400h"}`), "timeout_invalid /timeouts/run"},
		{withTop(`"timeouts":{"idle":"1ns"}`), "timeout_invalid /timeouts/idle"},

		// Contexts.
		{withContext(`"ref":"cas:sha256:` + hex64 + `"`), ""},
		{withContext(`"ref":"cas:sha256:` + hex64 + `","digest":"sha256:` + hex64 + `","size":1`), ""},
		{withContext(`"ref":"cas:sha256:` + hex64 + `","digest":"sha256:` + strings.Repeat("0", 64) + `"`), "context_digest_conflict /context/digest"},
		{withContext(`"ref":"file:///a.tar","dir":"svc/api"`), ""},
		{withContext(`"ref":"file:///a.tar","dir":"./svc/../.github/"`), ""},
		{withContext(`"ref":"file:///a.tar","dir":"*"`), ""},
		{withContext(`"ref":"file:///a.tar","dir":"/svc"`), "context_dir_invalid /context/dir"},
		{withContext(`"ref":"file:///a.tar","dir":"a/../.."`), "context_dir_invalid /context/dir"},
		{withContext(`"ref":"file:///a.tar","dir":"a\nb"`), "context_dir_invalid /context/dir"},
		{withContext(`"ref":"cas:sha256:123"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"cas:md5:` + hex64 + `"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"file:///srv/a.tar.gz"`), ""},
		{withContext(`"ref":"file://host/a.tar"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"file:a.tar"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"file:///a.tar?x=1"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"https://example.com/a.tar"`), ""},
		{withContext(`"ref":"http://example.com/a.tar"`), ""},
		{withContext(`"ref":"https:///a.tar"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"https://ann:pass@example.com/a.tar"`), "url_userinfo /context/ref"},
		{withContext(`"ref":"https://ann@example.com/a.tar"`), "url_userinfo /context/ref"},
		{withContext(`"ref":"https://example.com/\n"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"s3://bucket/key"`), ""},
		{withContext(`"ref":"s3:///key"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"ftp://example.com/a.tar"`), ""}, // a newer worker may know it
		{withContext(`"ref":"x-y+z.1:a","credential":"ci"`), ""},
		{withContext(`"ref":"ftp://ann:pass@example.com/a.tar"`), "url_userinfo /context/ref"},
		{withContext(`"ref":"ftp:"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"ftp:\n"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"HTTPS://example.com/a.tar"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"1a:b"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"C:\\src\\a.tar"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"git@example.com:a"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"/srv/a.tar"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":""`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"file:///` + strings.Repeat("a", 4090) + `"`), "context_ref_invalid /context/ref"},
		{withContext(`"ref":"file:///a","digest":"sha256:ABC"`), "digest_invalid /context/digest"},
		{withContext(`"ref":"file:///a","size":-1`), "context_size_invalid /context/size"},

		// Builds.
		{withBuild(`"dockerfile":"docker/Dockerfile.dev"`), ""},
		{withBuild(`"dockerfile":"a/../b"`), ""},
		{withBuild(`"dockerfile":"/etc/passwd"`), "dockerfile_path_invalid /build/dockerfile"},
		{withBuild(`"dockerfile":"../Dockerfile"`), "dockerfile_path_invalid /build/dockerfile"},
		{withBuild(`"dockerfile":"a/../../b"`), "dockerfile_path_invalid /build/dockerfile"},
		{withBuild(`"dockerfile":".."`), "dockerfile_path_invalid /build/dockerfile"},
		{withBuild(`"dockerfile":"./"`), "dockerfile_path_invalid /build/dockerfile"},
		{withBuild(`"dockerfile":"a\u0000"`), "dockerfile_path_invalid /build/dockerfile"},
		{withBuild(`"platform":"linux/amd64"`), ""},
		{withBuild(`"platform":"Linux/amd64"`), "platform_invalid /build/platform"},
		{withBuild(`"target":"final"`), ""},
		{withBuild(`"target":"a b"`), "target_invalid /build/target"},
		{withBuild(`"args":{"A":"1","BUILDKIT_INLINE_CACHE":"1"}`), ""},
		{withBuild(`"args":{"BUILDKIT_SYNTAX":"evil"}`), ""}, // the operator decides
		{withBuild(`"args":{"SLIPWAY_X":"1"}`), "build_arg_reserved /build/args/SLIPWAY_X"},
		{withBuild(`"args":{"1A":"1"}`), "build_arg_name_invalid /build/args/1A"},
		{withBuild(`"args":{"A":"\u0000"}`), "build_arg_value_invalid /build/args/A"},
		{withBuild(`"args":` + vars(129, "A", "")), "build_arg_too_large /build/args"},
		{withBuild(`"labels":{"slipway.job":"x"}`), "label_reserved /build/labels/slipway.job"},
		{withBuild(`"labels":{"com.docker.compose.project":"x"}`), "label_reserved /build/labels/com.docker.compose.project"},
		{withBuild(`"labels":{"org.opencontainers.image.description":"` + strings.Repeat("x", 60_000) + `","a":"","_b":"","Vendor(1)":"\u00e4 b\n"}`), ""},
		{withBuild(`"labels":{"` + strings.Repeat("k", 255) + `":""}`), ""},
		{withBuild(`"labels":{"` + strings.Repeat("k", 256) + `":""}`), "label_invalid /build/labels/" + strings.Repeat("k", 200) + "..."},
		{withBuild(`"labels":{"":"x"}`), "label_invalid /build/labels/"},
		{withBuild(`"labels":{"a=b":"x"}`), "label_invalid /build/labels/a=b"},
		{withBuild(`"labels":{"a b":"x"}`), "label_invalid /build/labels/a b"},
		{withBuild(`"labels":{"a\u0007":"x"}`), "label_invalid /build/labels/a\a"},
		{withBuild(`"labels":{"a":"\u0000"}`), "label_invalid /build/labels/a"},
		{withBuild(`"labels":{"a":"` + strings.Repeat("x", 64<<10) + `"}`), "labels_too_large /build/labels"},
		{withBuild(`"labels":` + vars(1000, "l", "")), ""},
		{withBuild(`"labels":` + vars(64<<10/7, "l", "")), "labels_too_large /build/labels"},
		{withBuild(`"tags":["` + strings.Repeat("a", 237) + `:1","reg.example.com/` + strings.Repeat("a", 239) + `:1"]`), ""},
		{withBuild(`"tags":["` + strings.Repeat("a", 238) + `"]`), "image_ref_invalid /build/tags/0"},
		{withBuild(`"tags":["team/` + strings.Repeat("a", 241) + `"]`), "image_ref_invalid /build/tags/0"},
		{withBuild(`"tags":["localhost:5000/` + strings.Repeat("a", 241) + `:1"]`), "image_ref_invalid /build/tags/0"},
		{withBuild(`"network":"default"`), ""},
		{withBuild(`"network":"host"`), "network_invalid /build/network"},
		{withBuild(`"tags":["app:1","localhost:5000/team/app"],"push":true`), ""},
		{withBuild(`"tags":["app:1","App:1"]`), "image_ref_invalid /build/tags/1"},
		{withBuild(`"tags":[""]`), "image_ref_invalid /build/tags/0"},
		{withBuild(`"tags":["app@sha256:` + hex64 + `"]`), "image_ref_invalid /build/tags/0"},
		{withBuild(`"tags":` + list(65, `"app"`)), "list_too_long /build/tags"},
		{withBuild(`"push":true`), "push_without_tag /build/push"},
		{withBuild(`"contexts":{"base":"docker-image://alpine:3","reg.example.com/a/b:1":"libs/b","c":"."}`), ""},
		{withBuild(`"contexts":{"Base":"docker-image://alpine:3"}`), "context_name_invalid /build/contexts/Base"},
		{withBuild(`"contexts":{"scratch":"libs"}`), "context_name_invalid /build/contexts/scratch"},
		{withBuild(`"contexts":{"":"libs"}`), "context_name_invalid /build/contexts/"},
		{withBuild(`"contexts":{"a@sha256:` + hex64 + `":"libs"}`), "context_name_invalid /build/contexts/a@sha256:" + hex64},
		{withBuild(`"contexts":{"a":"libs","docker.io/library/a:latest":"libs"}`), "context_name_invalid /build/contexts/docker.io~1library~1a:latest"},
		{withBuild(`"contexts":{"a":"docker-image://"}`), "image_ref_invalid /build/contexts/a"},
		{withBuild(`"contexts":{"a":"docker-image://B"}`), "image_ref_invalid /build/contexts/a"},
		{withBuild(`"contexts":{"a":""}`), "context_value_invalid /build/contexts/a"},
		{withBuild(`"contexts":{"a":"/libs"}`), "context_value_invalid /build/contexts/a"},
		{withBuild(`"contexts":{"a":"../libs"}`), "context_value_invalid /build/contexts/a"},
		{withBuild(`"contexts":{"a":"x/../../libs"}`), "context_value_invalid /build/contexts/a"},
		{withBuild(`"contexts":{"a":"https://example.com/a.tar"}`), "context_value_invalid /build/contexts/a"},
		{withBuild(`"contexts":{"a":"target:b"}`), "context_value_invalid /build/contexts/a"},
		{withBuild(`"cache_from":["example.com/app:cache"]`), ""},
		{withBuild(`"cache_from":["-app"]`), "image_ref_invalid /build/cache_from/0"},
		{withBuild(`"cache_from":` + list(65, `"app"`)), "list_too_long /build/cache_from"},
		{withBuild(`"secrets":[{"id":"npm"},{"id":"x","name":"team.npm"}]`), ""},
		{withBuild(`"secrets":[{"id":""}]`), "secret_invalid /build/secrets/0/id"},
		{withBuild(`"secrets":[{"id":"a/b"}]`), "secret_invalid /build/secrets/0/id"},
		{withBuild(`"secrets":[{"id":"a","name":"../b"}]`), "secret_invalid /build/secrets/0/name"},
		{withBuild(`"secrets":` + list(65, `{"id":"a"}`)), "list_too_long /build/secrets"},

		// Runs.
		{`{"run":{}}`, "run_image_missing /run/image"},
		{`{"context":{"ref":"file:///a"},"build":{},"run":{"image":"busybox"}}`, "run_image_conflict /run/image"},
		{`{"run":{"image":"docker.io/library/busybox:1.36@sha256:` + hex64 + `"}}`, ""},
		{`{"run":{"image":"[::1]:5000/a/b"}}`, ""},
		{`{"run":{"image":"` + hex64 + `"}}`, "image_ref_invalid /run/image"},
		{`{"run":{"image":"sha256:` + hex64 + `"}}`, "image_ref_invalid /run/image"},
		{`{"run":{"image":"bus ybox"}}`, "image_ref_invalid /run/image"},
		{`{"run":{"image":"b\u00fcsybox"}}`, "image_ref_invalid /run/image"},
		{`{"run":{"image":"busybox:` + strings.Repeat("t", 129) + `"}}`, "image_ref_invalid /run/image"},
		{`{"run":{"image":"` + strings.Repeat("a/", 300) + `a"}}`, "image_ref_invalid /run/image"},
		{`{"run":{"image":"scratch"}}`, "image_ref_invalid /run/image"},
		{`{"run":{"image":"scratch:latest"}}`, "image_ref_invalid /run/image"},
		{`{"run":{"image":"team/scratch"}}`, ""},
		{withRun(`"command":["sh","-c","exit 7"],"entrypoint":[""]`), ""},
		{withRun(`"command":["", "a"]`), ""}, // an argument of the image's entrypoint
		{withRun(`"entrypoint":[""]`), "command_missing /run/command"},
		{withRun(`"entrypoint":["", "a"]`), "command_invalid /run/entrypoint/0"},
		{withRun(`"entrypoint":[""],"command":["", "a"]`), "command_invalid /run/command/0"},
		{withRun(`"command":["a","b\u0000"]`), "command_invalid /run/command/1"},
		{withRun(`"entrypoint":["\u0000"]`), "command_invalid /run/entrypoint/0"},
		{withRun(`"command":["` + strings.Repeat("x", 128<<10) + `"]`), "command_too_large /run/command"},
		{withRun(`"env":{"A":"b=c\n","a.b-c":""}`), ""},
		{withRun(`"env":{"A=B":"1"}`), "env_name_invalid /run/env/A=B"},
		{withRun(`"env":{"":"1"}`), "env_name_invalid /run/env/"},
		{withRun(`"env":{"A\nB":"1"}`), "env_name_invalid /run/env/A\nB"},
		{withRun(`"env":{"SLIPWAY_TOKEN":"1"}`), "env_reserved /run/env/SLIPWAY_TOKEN"},
		{withRun(`"env":{"A":"\u0000"}`), "env_value_invalid /run/env/A"},
		{withRun(`"env":{"A":"` + strings.Repeat("x", 32<<10) + `"}`), "env_too_large /run/env"},
		{withRun(`"workdir":"/srv/app"`), ""},
		{withRun(`"workdir":"srv"`), "path_invalid /run/workdir"},
		{withRun(`"workdir":"/a/../b"`), "path_invalid /run/workdir"},
		{withRun(`"workdir":"/a:/b"`), "path_invalid /run/workdir"},
		{withRun(`"user":"0"`), ""},
		{withRun(`"user":"www-data:1000"`), ""},
		{withRun(`"user":"a b"`), "user_invalid /run/user"},
		{withRun(`"user":"-1"`), "user_invalid /run/user"},
		{withRun(`"user":"2147483647:002147483647"`), ""},
		{withRun(`"user":"2147483648"`), "user_invalid /run/user"},
		{withRun(`"user":"app:4294967295"`), "user_invalid /run/user"},
		{withRun(`"user":"99999999999999999999999"`), "user_invalid /run/user"},
		{withRun(`"network":"bridge"`), ""},
		{withRun(`"network":"host"`), "network_invalid /run/network"},
		{withRun(`"stop_grace":"10m"`), ""},
		{withRun(`"stop_grace":"11m"`), "stop_grace_invalid /run/stop_grace"},
		{withRun(`"keep":"168h"`), ""},
		{withRun(`"keep":"169h"`), "keep_invalid /run/keep"},
		{withRun(`"keep":"-1h"`), "keep_invalid /run/keep"},
		{withRun(`"tmpfs":{"/tmp":"64m","/run/x":0}`), ""},
		{withRun(`"workdir":"/` + strings.Repeat("a", 255) + `"`), ""},
		{withRun(`"workdir":"/` + strings.Repeat("a", 256) + `"`), "path_invalid /run/workdir"},
		{withRun(`"workdir":"` + strings.Repeat("/a", 2048) + `"`), "path_invalid /run/workdir"},
		{withRun(`"tmpfs":{"/dev/shm":1,"/procs":1}`), ""},
		{withRun(`"tmpfs":{"/proc/acpi":1}`), "tmpfs_invalid /run/tmpfs/~1proc~1acpi"},
		{withRun(`"tmpfs":{"/a":1,"/a/":1}`), "tmpfs_invalid /run/tmpfs/~1a~1"},
		{withRun(`"tmpfs":{"tmp":1}`), "path_invalid /run/tmpfs/tmp"},
		{withRun(`"tmpfs":{"":1}`), "tmpfs_invalid /run/tmpfs/"},
		{withRun(`"tmpfs":{"//":1}`), "tmpfs_invalid /run/tmpfs/~1~1"},
		{withRun(`"tmpfs":{"/tmp":-1}`), "tmpfs_invalid /run/tmpfs/~1tmp"},
		{withRun(`"tmpfs":{"/run":1,"/run/secret":1},"secrets":[{"id":"a"}]`), ""},
		{withRun(`"tmpfs":{"/run/secrets/":1},"secrets":[{"id":"a"}]`), "tmpfs_invalid /run/tmpfs/~1run~1secrets~1"},
		{withRun(`"tmpfs":{"/run/secrets/a":1},"secrets":[{"id":"a"}]`), "tmpfs_invalid /run/tmpfs/~1run~1secrets~1a"},
		{withRun(`"tmpfs":{"/run/secrets":1}`), ""},
		{withRun(`"secrets":[{"id":"npm"},{"id":"x","name":"team.npm"}]`), ""},
		{withRun(`"secrets":[{"id":""}]`), "secret_invalid /run/secrets/0/id"},
		{withRun(`"secrets":[{"id":"a"},{"id":"a","name":"b"}]`), "secret_invalid /run/secrets/1/id"},
		{withRun(`"secrets":[{"id":"../a"}]`), "secret_invalid /run/secrets/0/id"},
		{withRun(`"secrets":[{"id":"a","name":"b/c"}]`), "secret_invalid /run/secrets/0/name"},
		{withRun(`"secrets":` + manySecrets(65)), "list_too_long /run/secrets"},
		{withRun(`"secrets":[{"id":"a"}],"outputs":["/run/secrets/a"]`), "output_on_mount /run/outputs/0"},
		{withRun(`"secrets":[{"id":"a"}],"outputs":["/run"]`), "output_on_mount /run/outputs/0"},
		{withRun(`"secrets":[{"id":"a"}],"outputs":["/run/x"]`), ""},
		{withRun(`"outputs":["/run/secrets"]`), ""},
		{withRun(`"outputs":["/out","/a.txt"]`), ""},
		{withRun(`"outputs":["out"]`), "path_invalid /run/outputs/0"},
		{withRun(`"outputs":["/a/../../etc"]`), "path_invalid /run/outputs/0"},
		{withRun(`"outputs":["/"]`), "output_invalid /run/outputs/0"},
		{withRun(`"outputs":[""]`), "output_invalid /run/outputs/0"},
		{withRun(`"outputs":` + list(65, `"/a"`)), "list_too_long /run/outputs"},
		{withRun(`"outputs":["/a"],"keep":"1h"`), "outputs_with_keep /run/outputs"},
		{withRun(`"outputs":["/out"],"tmpfs":{"/out":"4m"}`), "output_on_mount /run/outputs/0"},
		{withRun(`"outputs":["/out/a/b"],"tmpfs":{"/out/":0}`), "output_on_mount /run/outputs/0"},
		{withRun(`"outputs":["/data"],"tmpfs":{"/data/tmp":0}`), "output_on_mount /run/outputs/0"},
		{withRun(`"outputs":["/a","/dev/shm/report"]`), "output_on_mount /run/outputs/1"},
		{withRun(`"outputs":["/proc//cpuinfo"]`), "output_on_mount /run/outputs/0"},
		{withRun(`"outputs":["/sys"]`), "output_on_mount /run/outputs/0"},
		{withRun(`"outputs":["/outside","/device","/system/x"],"tmpfs":{"/out":"4m"}`), ""},
		{withRun(`"outputs":["/a"],"outputs_on":"success"`), ""},
		{withRun(`"outputs":["/a"],"outputs_on":"always"`), ""},
		{withRun(`"outputs":["/a"],"outputs_on":"failure"`), "outputs_on_invalid /run/outputs_on"},

		// Limits.
		{withRun(`"limits":{"cpus":0.01,"memory":"6m","pids":1,"shm":"64m","ulimits":{"nofile":{"soft":1,"hard":1}}}`), ""},
		{withRun(`"limits":{"cpus":0.0001}`), "limit_invalid /run/limits/cpus"},
		{withRun(`"limits":{"cpus":-1}`), "limit_invalid /run/limits/cpus"},
		{withRun(`"limits":{"cpus":1025}`), "limit_invalid /run/limits/cpus"},
		{withRun(`"limits":{"memory":1}`), "limit_below_minimum /run/limits/memory"},
		{withRun(`"limits":{"memory":-1}`), "limit_below_minimum /run/limits/memory"},
		{withRun(`"limits":{"pids":-2}`), "limit_invalid /run/limits/pids"},
		{withRun(`"limits":{"pids":4194305}`), "limit_invalid /run/limits/pids"},
		{withRun(`"limits":{"shm":-1}`), "limit_invalid /run/limits/shm"},
		{withRun(`"limits":{"ulimits":{"nofiles":{"soft":1,"hard":1}}}`), "ulimit_unknown /run/limits/ulimits/nofiles"},
		{withRun(`"limits":{"ulimits":{"core":{"soft":2,"hard":1}}}`), "ulimit_invalid /run/limits/ulimits/core"},
		{withRun(`"limits":{"ulimits":{"core":{"soft":-1,"hard":1}}}`), "ulimit_invalid /run/limits/ulimits/core"},
		{withRun(`"limits":{"ulimits":{"memlock":{"soft":-1,"hard":-1},"stack":{"soft":8388608,"hard":-1},"core":{"soft":0,"hard":-1}}}`), ""},
		{withRun(`"limits":{"ulimits":{"memlock":{"soft":-2,"hard":-1}}}`), "ulimit_invalid /run/limits/ulimits/memlock"},
		{withRun(`"limits":{"ulimits":{"memlock":{"soft":0,"hard":-2}}}`), "ulimit_invalid /run/limits/ulimits/memlock"},
		{withRun(`"limits":{"ulimits":{"nofile":{"soft":1024,"hard":-1}}}`), "ulimit_invalid /run/limits/ulimits/nofile"},
		{withRun(`"limits":{"pids":-1}`), ""},

		// Ports and services.
		{withRun(`"ports":[{"container":80,"host":8080},{"container":53,"host":8080,"protocol":"udp"},{"container":1},{"container":2}]`), ""},
		{withRun(`"ports":[{"container":0}]`), "port_invalid /run/ports/0"},
		{withRun(`"ports":[{"container":65536}]`), "port_invalid /run/ports/0"},
		{withRun(`"ports":[{"container":80,"host":-1}]`), "port_invalid /run/ports/0"},
		{withRun(`"ports":[{"container":80,"protocol":"sctp"}]`), "port_invalid /run/ports/0/protocol"},
		{withRun(`"ports":[{"container":80,"host":8080},{"container":81,"host":8080}]`), "port_duplicate /run/ports/1"},
		{withRun(`"ports":` + list(65, `{"container":80}`)), "list_too_long /run/ports"},
		{withPorts(`"network":"none"`), "ports_without_network /run/ports"},
		{withPorts(`"keep":"1h","ready":{"http":"/","port":80}`), ""},
		{withPorts(`"keep":"1h","ready":{"tcp":true,"port":80,"timeout":"30s"}`), ""},
		{withRun(`"keep":"1h","ready":{"health":true}`), ""},
		{withPorts(`"keep":"1h","ready":{"health":true,"port":80}`), "ready_invalid /run/ready/port"},
		{withPorts(`"keep":"1h","ready":{"health":true,"tcp":true}`), "ready_invalid /run/ready"},
		{withRun(`"keep":"1h","ready":{"health":false}`), "ready_invalid /run/ready|ready_invalid /run/ready/port"},
		{withPorts(`"ready":{"tcp":true,"port":80}`), "ready_without_keep /run/ready"},
		{withPorts(`"keep":"1h","ready":{"port":80}`), "ready_invalid /run/ready"},
		{withPorts(`"keep":"1h","ready":{"tcp":true,"http":"/","port":80}`), "ready_invalid /run/ready"},
		{withPorts(`"keep":"1h","ready":{"http":"healthz","port":80}`), "ready_invalid /run/ready/http"},
		{withPorts(`"keep":"1h","ready":{"http":"/\r\nX: y","port":80}`), "ready_invalid /run/ready/http"},
		{withPorts(`"keep":"1h","ready":{"tcp":true,"port":81}`), "ready_invalid /run/ready/port"},
		{withRun(`"ports":[{"container":80,"protocol":"udp"}],"keep":"1h","ready":{"tcp":true,"port":80}`), "ready_invalid /run/ready/port"},
		{withPorts(`"keep":"1h","ready":{"tcp":true,"port":80,"timeout":"25h"}`), "timeout_invalid /run/ready/timeout"},

		// Everything wrong is said at once.
		{`{"name":"A","retries":99,"run":{"image":"B","limits":{"memory":1}}}`, "name_invalid /name|retries_invalid /retries|image_ref_invalid /run/image|limit_below_minimum /run/limits/memory"},
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range documents() {
		s, err := jobs.DecodeSpec([]byte(tt.doc))
		if err != nil {
			t.Errorf("%.200s: cannot be decoded: %v", tt.doc, err)
			continue
		}
		for form, s := range map[string]jobs.Spec{"as it is": s, "normalized": s.Normalize()} {
			err := s.Validate()
			if got := strings.Join(problemsOf(t, err), "|"); got != tt.want {
				t.Errorf("%.200s, %s:\n got %q\nwant %q (%v)", tt.doc, form, got, tt.want, err)
			}
		}
	}
}

// A Go program can send what JSON cannot hold.
func TestValidateFromGo(t *testing.T) {
	t.Parallel()
	base := func() jobs.Spec { return jobs.Spec{Run: &jobs.Run{Image: "busybox"}} }
	for _, tt := range []struct {
		name   string
		change func(*jobs.Spec)
		want   string
	}{
		{"cpus NaN", func(s *jobs.Spec) { s.Run.Limits.CPUs = math.NaN() }, "limit_invalid /run/limits/cpus"},
		{"cpus infinite", func(s *jobs.Spec) { s.Run.Limits.CPUs = math.Inf(1) }, "limit_invalid /run/limits/cpus"},
		{"key of broken UTF-8", func(s *jobs.Spec) { s.IdempotencyKey = "\xff" }, "text_invalid /idempotency_key"},
		{"the shortest duration", func(s *jobs.Spec) { s.Timeouts.Run = math.MinInt64 }, "timeout_invalid /timeouts/run"},
	} {
		s := base()
		tt.change(&s)
		if got := strings.Join(problemsOf(t, s.Validate()), "|"); got != tt.want {
			t.Errorf("%s: got %q; want %q", tt.name, got, tt.want)
		}
	}
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	s := jobs.Spec{
		Context: &jobs.Context{Ref: "file:///a"}, Build: &jobs.Build{},
		Run: &jobs.Run{Ports: []jobs.Port{{Container: 80}}},
	}
	n := s.Normalize()
	if n.Version != 1 || n.Queue != "builds" || n.Priority != jobs.PriorityNormal || n.Build.Dockerfile != "Dockerfile" || n.Run.Network != "bridge" {
		t.Errorf("got %+v, build %+v, run %+v", n, n.Build, n.Run)
	}
	if s.Build.Dockerfile != "" || s.Run.Network != "" {
		t.Error("Normalize changed the document it was called on")
	}
	if got := (jobs.Spec{Run: &jobs.Run{}}).Normalize().Run.Network; got != "none" {
		t.Errorf("a run without ports has network %q; want none", got)
	}
	if a, b := jobs.SpecDigest(n), jobs.SpecDigest(n.Normalize()); a != b || len(a) != 64 {
		t.Errorf("digests %s and %s of one document", a, b)
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []jobs.Context{{Ref: "cas:" + digest, Digest: digest}, {Ref: "cas:" + digest}} {
		if got := (jobs.Spec{Context: &c}).Normalize().Context; *got != (jobs.Context{Ref: "cas:" + digest}) {
			t.Errorf("context %+v is normalized to %+v; want the reference only", c, got)
		}
	}
	n.Timeouts.Run = jobs.Duration(time.Minute)
	if jobs.SpecDigest(n) == jobs.SpecDigest(s.Normalize()) {
		t.Error("two documents have one digest")
	}
}

// TestImageMistake: a wrong image reference is told with the place.
func TestImageMistake(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{
		"App:1":                           `found "App:1" with 'A' as byte 1; want`,
		"reg.example.com/team/App":        `with 'A' as byte 22;`,
		"bus ybox":                        `with ' ' as byte 4;`,
		"b\u0443sybox":                    `with 'у' as byte 2;`,
		"busybox:\u202elatest":            `with '\u202e' as byte 9;`,
		"app:" + strings.Repeat("t", 129): `with a tag of 129 characters, where 128 is the limit;`,
		"-app":                            `found "-app"; want [host[:port]/]name[:tag]`,
		"app:1:2":                         `found "app:1:2"; want`,
	} {
		err := jobs.Spec{Run: &jobs.Run{Image: ref}}.Normalize().Validate()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "(image_ref_invalid)") {
			t.Errorf("%q: %v\nwant ...%s...", ref, err, want)
		}
	}
}

// TestUnknownWord: a word that is none of the known ones is reported with them.
func TestUnknownWord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		spec jobs.Spec
		want string
	}{
		{jobs.Spec{Priority: "fast"}, `/priority: unknown priority "fast": want high, normal or low (priority_invalid)`},
		{jobs.Spec{Build: &jobs.Build{Network: "bridge"}}, `/build/network: unknown network "bridge": want default or none (network_invalid)`},
		{jobs.Spec{Run: &jobs.Run{Network: "host"}}, `/run/network: unknown network "host": want none or bridge (network_invalid)`},
		{jobs.Spec{Run: &jobs.Run{Ports: []jobs.Port{{Container: 1, Protocol: "sctp"}}}}, `/run/ports/0/protocol: unknown protocol "sctp": want tcp or udp (port_`},
		{jobs.Spec{Run: &jobs.Run{OutputsOn: "failure"}}, `/run/outputs_on: unknown condition "failure": want always or success (outputs_`},
		{jobs.Spec{Run: &jobs.Run{Limits: jobs.Limits{Ulimits: map[string]jobs.Ulimit{"nofiles": {}}}}}, `unknown ulimit "nofiles": want core, cpu,`},
		{jobs.Spec{Run: &jobs.Run{Limits: jobs.Limits{Ulimits: map[string]jobs.Ulimit{"nofiles": {}}}}}, `or stack (did you mean nofile?) (ulimit_unknown)`},
	} {
		if err := tt.spec.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v\nwant ...%s...", err, tt.want)
		}
	}
}
