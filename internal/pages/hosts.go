package pages

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// hostRow is a host with what the page says of it.
type hostRow struct {
	jobs.KnownHost
	// Why it takes no jobs, "" when it does.
	Why string
	// Since is since when it is so, zero when that is not known.
	Since  time.Time
	Silent string
	Slots  []slot
	Labels []string
	// Disk is what is free of its disks, "" when that is not known.
	Disk string
	// Last is the newest failure that was of the farm's making there.
	Last *jobRow
}

// slot is a place for a job. A host names some of those that run: ID is "" for the others.
type slot struct {
	ID, Name string
	Busy     bool
}

// hostsPage is the list of hosts.
type hostsPage struct {
	Hosts      []hostRow
	MayOperate bool
	Now        time.Time
}

// hosts answers GET /hosts.
func (p *Pages) hosts(v *visit) error {
	var found struct {
		Hosts []jobs.KnownHost `json:"hosts"`
	}
	if err := v.ask(get("/v1/hosts", nil), &found); err != nil {
		return err
	}
	page := hostsPage{MayOperate: v.mayOperate(), Now: now()}
	names, err := p.running(v, found.Hosts)
	if err != nil {
		return err
	}
	for _, h := range found.Hosts {
		row := describeHost(h, names, page.Now)
		if row.Last, err = lastFailure(v, h, page.Now); err != nil {
			return err
		}
		page.Hosts = append(page.Hosts, row)
	}
	if v.wants("list") {
		return p.part(v, "hostlist", page)
	}
	return p.render(v, http.StatusOK, "hosts", "Hosts", page)
}

// running are the names of jobs that run, by their IDs.
func (p *Pages) running(v *visit, hosts []jobs.KnownHost) (map[string]string, error) {
	names := map[string]string{}
	if !slices.ContainsFunc(hosts, func(h jobs.KnownHost) bool { return len(h.Jobs) > 0 }) {
		return names, nil
	}
	var found listing
	if err := v.ask(get("/v1/jobs", url.Values{"state": {string(jobs.Running)}, "limit": {"200"}}), &found); err != nil {
		return nil, err
	}
	for _, j := range found.Jobs {
		names[j.ID] = j.Spec.Name
	}
	return names, nil
}

// lastFailure is the newest job that failed on a host without being at fault.
func lastFailure(v *visit, h jobs.KnownHost, at time.Time) (*jobRow, error) {
	if h.Name == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	var found listing
	if err := v.ask(get("/v1/jobs", url.Values{"host": {h.Name}, "fault": {string(jobs.InfraFault)}, "limit": {"1"}}), &found); err != nil {
		return nil, err
	}
	if len(found.Jobs) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	row := rowOf(found.Jobs[0], "", at)
	return &row, nil
}

func describeHost(h jobs.KnownHost, names map[string]string, at time.Time) hostRow {
	row := hostRow{KnownHost: h}
	switch {
	case h.Damaged != "":
		row.Why = h.Damaged
	case h.Order != nil:
		row.Why, row.Since = h.Order.String(), h.Order.Since
		if back, ok := h.Order.HandsBack(); ok && back.After(at) {
			row.Why += "; what still runs in " + short(back.Sub(at)) + " is handed back"
		}
		if h.Up && h.Behind {
			row.Why += "; the worker does not obey yet"
		}
	case h.Up && h.Behind:
		row.Why = "it is resumed, and the worker does not obey yet"
	case !h.Up:
		row.Why = "nothing was heard of its worker: it was killed, or cannot reach Redis"
		row.Since = h.Seen
	case h.State == jobs.HostUnfit:
		row.Why = cmp.Or(h.Reason, "it does not say why")
	case h.State == jobs.HostDraining:
		row.Why = "its worker ends"
	}
	if h.Up && h.State != jobs.HostUnfit && h.Reason != "" {
		row.Why += "; unfit: " + h.Reason
	}
	if !h.Up {
		if !h.Seen.IsZero() {
			row.Silent = jobs.Age(h.Silent(at))
		}
	} else {
		for _, id := range h.Jobs {
			row.Slots = append(row.Slots, slot{id, cmp.Or(names[id], shortID(id)), true})
		}
		for len(row.Slots) < max(h.Host.Slots, h.Running) {
			row.Slots = append(row.Slots, slot{Busy: len(row.Slots) < h.Running})
		}
	}
	if h.Up {
		row.Disk = diskroom.Free(h.Disks)
	}
	for _, key := range slices.Sorted(maps.Keys(h.Host.Labels)) {
		if key != jobs.HostLabel {
			row.Labels = append(row.Labels, key+"="+h.Host.Labels[key])
		}
	}
	return row
}

// order answers POST /hosts/{host}/{order}.
func (p *Pages) order(v *visit) error {
	kind := v.PathValue("order")
	if !slices.Contains([]string{"drain", "cordon", "resume"}, kind) {
		return notFound("there is no page " + jobs.Clip(v.URL.Path))
	}
	var body any
	if reason := v.PostFormValue("reason"); reason != "" && kind != "resume" {
		body = map[string]string{"reason": reason}
	}
	if err := v.ask(question{method: http.MethodPost, path: "/v1/hosts/" + url.PathEscape(v.PathValue("host")) + "/" + kind, body: body}, nil); err != nil {
		return err
	}
	return v.redirect("/hosts")
}

// now is a clock for ages; what counts is decided by Redis' clock.
func now() time.Time { return time.Now() }
