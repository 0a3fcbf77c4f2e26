//go:build integration

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// incident is a farm with one worker that gets into a situation.
type incident struct {
	*farm
	host *hosttest.Host
	// state, store and dockerHost are those of the worker, args what else it is started with.
	state, store, dockerHost string
	args                     []string
	worker                   *workerProcess
	// address is the worker's admin address, which dial reaches.
	address string
	dial    dialing
	// admin is a connection that may change the settings of Redis.
	admin *redis.Client
	// What some situations are made with: a listener before the daemon, the disk of a daemon of
	// their own, a directory of secrets, the address of a registry, and certificates.
	spy                     *hosttest.Spy
	room, secrets, registry string
	certs                   *hosttest.Certificates
	// clockOffset is how many seconds the clock of Redis is ahead, with behindOffsetClock.
	clockOffset atomic.Int64
}

// situation is what may happen to a farm, with all that an operator is told of it.
type situation struct {
	name string
	// prepare comes before the worker starts, breaks when it has taken jobs for a while.
	// What they make is undone by the end of the test.
	prepare, breaks func(s *incident)
	// until are lines of the metrics that show the situation; "" is an address that does not
	// answer. N stands for a number above 0, M for one above 5, and * for any text of a label.
	until []string
	// status, check and words are the doctor's line; where check is "", noLine is why it has none.
	status, check, words, noLine string
	// alerts fire, and those in also may; where there are none, noAlert is why none can.
	alerts, also []string
	noAlert      string
}

// Each situation leads to its line of the doctor and to its alert, which the metrics of the
// real worker set off; the page about alerts shows the line.
func TestSituations(t *testing.T) {
	t.Parallel()
	page := readAlerts(t)
	all := situations()
	if len(all) < 15 {
		t.Errorf("%d situations; want at least 15", len(all))
	}
	incidents := newSubtests(t, 3)
	for _, tt := range all {
		if (tt.check == "") == (tt.noLine == "") || (len(tt.alerts) == 0) == (tt.noAlert == "") {
			t.Errorf("%s: want a line and an alert, or why there is none", tt.name)
		}
		incidents.run(tt.name, func(t *testing.T) { newIncident(t).play(tt, page) })
	}
	incidents.wait()
}

func newIncident(t *testing.T) *incident {
	t.Helper()
	s := &incident{farm: newFarm(t), host: hosts.Take(t), address: "127.0.0.1:18091"}
	s.dial = s.host.Dial
	s.state, s.store, s.dockerHost = filepath.Join(s.dir, "incident"), filepath.Join(s.dir, "store"), s.host.DockerHost()
	s.admin = adminOfRedis(s.redis.Socket)
	t.Cleanup(func() { _ = s.admin.Close() })
	return s
}

func (s *incident) play(tt situation, page alertsPage) {
	s.t.Helper()
	if tt.prepare != nil {
		tt.prepare(s)
	}
	args := append([]string{"--admin", s.address, "--store", s.store, "--docker-host", s.dockerHost, "--lease", "10s", "--drain", "1s"}, s.args...)
	s.worker = s.farm.worker(s.host, "incident", args...)
	before := s.scraped("slipway_worker_ready 1", `slipway_slots{state="idle"} N`)
	tt.breaks(s)
	after := s.scraped(tt.until...)
	if tt.check != "" {
		s.examined(tt, page)
	}
	s.fires(tt, before, after)
}

// scraped waits until the metrics have all of the lines, and returns those of the farm; "" is
// what an address has that does not answer.
func (s *incident) scraped(lines ...string) (text string) {
	s.t.Helper()
	s.eventually(3*time.Minute, fmt.Sprintf("the metrics have %q", lines), func() bool {
		code, body := adminOf(s.dial, s.address, "/metrics")
		if code != http.StatusOK {
			text = ""
			return len(lines) == 1 && lines[0] == ""
		}
		text = "\n" + body
		for _, line := range lines {
			want := strings.NewReplacer("N", `[1-9][0-9]*`, "M", `([6-9]|[1-9][0-9]+)`, `\*`, `[^"\n]*`).Replace(regexp.QuoteMeta(line))
			if line == "" || !regexp.MustCompile("\n"+want+"\n").MatchString(text) {
				return false
			}
		}
		return true
	})
	return text
}

// examined has the doctor look at the host, with the settings of its worker.
func (s *incident) examined(tt situation, page alertsPage) {
	s.t.Helper()
	args := append([]string{"doctor", "--name", "incident", "--state", s.state, "--store", s.store, "--docker-host", s.dockerHost}, s.args...)
	a := s.program(nil, "worker", args...)
	patient{farm: s.farm, host: s.host, state: s.state}.says(a, tt.status, tt.check, tt.words)
	if failed := tt.status == "FAIL"; failed != (a.code == 1) {
		s.t.Errorf("exit code %d with %s of %s:\n%s%s", a.code, tt.status, tt.check, a.stdout, a.stderr)
	}
	s.t.Log(lineOf(a.stdout, tt.check))
	if !page.shows(tt) {
		s.t.Errorf("docs/alerts.md shows no line %s %s with %q where %q is", tt.status, tt.check, tt.words, tt.alerts)
	}
}

// lineOf is what the doctor printed of a check.
func lineOf(text, check string) string {
	return regexp.MustCompile(`(?m)^\S+ +` + regexp.QuoteMeta(check) + ` .*(\n      .*)*`).FindString(text)
}

// alertsPage has the sections of the page about alerts by their titles.
type alertsPage map[string]string

func readAlerts(t *testing.T) alertsPage {
	t.Helper()
	text, err := os.ReadFile("../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	p := alertsPage{}
	for _, section := range regexp.MustCompile(`(?m)^##+ `).Split(string(text), -1) {
		title, rest, _ := strings.Cut(section, "\n")
		p[title] = rest
	}
	return p
}

// noAlertTitle is the section of what no alert tells.
const noAlertTitle = "What no alert tells"

// shows reports whether the section of the first alert has the line of the doctor.
func (p alertsPage) shows(tt situation) bool {
	title := noAlertTitle
	if len(tt.alerts) > 0 {
		title = tt.alerts[0]
	}
	line := regexp.MustCompile(`(?m)^` + tt.status + ` +` + regexp.QuoteMeta(tt.check) + ` .*` + regexp.QuoteMeta(tt.words))
	return line.MatchString(p[title])
}
