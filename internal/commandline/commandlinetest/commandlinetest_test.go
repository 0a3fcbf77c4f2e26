package commandlinetest

import (
	"fmt"
	"slices"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	text := "worker outside\n```sh\n" +
		"worker drain --adopt   # not worker --this\n" +
		"  install -m 755 bin/worker /usr/local/bin/\n" +
		"git archive HEAD | worker -t 'a b' - && A=b worker x; worker\n" +
		"systemd-run --pipe \\\n  /usr/local/bin/worker doctor\n" +
		"for h in $(worker ls); do worker run \"$h\" >/dev/null; done\n" +
		"```\nworker outside\n```nft\nworker outside\n```\n" +
		"worker in words `worker drain --state`, `make worker x` and `worker ...`\n" +
		"```console\n$ worker a \\\n> --b\nworker c\n$ worker d 2>worker.log &\n> e\n```\n"
	want := []string{
		`page:3 ["drain" "--adopt"]`, `page:5 ["-t" "a b" "-"]`, `page:5 ["x"]`, `page:5 []`, `page:6 ["doctor"]`, `page:8 ["ls"]`, `page:8 ["run" "$h"]`,
		`page:14 ["drain" "--state"]`, `page:16 ["a" "--b"]`, `page:19 ["d"]`,
	}
	var got []string
	for _, c := range find("page", "worker", text) {
		got = append(got, fmt.Sprintf("%s %q", c.Where, c.Args))
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%q, want\n%q", got, want)
	}
}
