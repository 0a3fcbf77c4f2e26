package api

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// one draws one of several.
func one[T any](d *drawing, of ...T) T { return of[d.IntN(len(of))] }

// hostile is a text that something may trip over.
func (d *drawing) hostile() string {
	return one(d, "", "..", "../../etc/passwd", "%2e%2e%2f", "\x00", "a\x00b", "\xff\xfe", "\u202e\u2066", "<script>", "\x1b]0;x\x07", "'\"`;|$(id)", "-1", "0", "1e9", "9223372036854775807",
		"18446744073709551616", "NaN", "null", "{}", "[]", "true", "\r\nX-Evil: 1", strings.Repeat("a", 300), strings.Repeat("é", 500), strings.Repeat("x", 70_000), "+1", " ", "*", "${SLIPWAY_PLANTED}", "SLIPWAY_PLANTED",
		"file:///etc/passwd", "https://169.254.169.254/", "@/etc/passwd", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "a=b=c", "=", ",", "1:2:3")
}

// value is one for a parameter: good, or nearly so, or hostile.
func (d *drawing) value(name string) string {
	if d.IntN(4) == 0 {
		return d.hostile()
	}
	switch name {
	case "wait":
		return one(d, "0", "10ms", "20ms", "1", "0.01s", "-1s", "2h")
	case "for":
		return one(d, "0", "10ms", "-1s", "48h")
	case "id":
		return one(d, d.ids...)
	case "event":
		return one(d, "1700000000000-1", "0-0", "1-x")
	case "log":
		return one(d, "0-0", "1700000000000-5", "$", "x")
	case "fail", "up", "tar", "follow", "run", "push":
		return one(d, "", "true", "false", "1", "0", "yes")
	case "state":
		return one(d, "queued", "running", "succeeded", "failed", "Failed")
	case "kind":
		return one(d, "exit_nonzero", "busy", "exit")
	case "fault":
		return one(d, "user", "infra", "none")
	case "limit":
		return one(d, "1", "2", "200", "201", "0", "1000")
	case "after", "before":
		return one(d, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00+23:59", "2026-01-01", "1:0", "1:13", "2:5", "0:0")
	case "format":
		return one(d, "text", "jsonl", "sse", "html")
	case "attempt":
		return one(d, "1", "2", "7", "0")
	case "max_bytes":
		return one(d, "1024", "65536", "4096", "1")
	case "digest":
		return one(d, d.digests[0], "sha256:"+zeros, "md5:1")
	case "label":
		return one(d, "mark=green", "mark=", "=")
	case "tenant":
		return one(d, "blue", "green", "red")
	case "page_token":
		return one(d, "1:a", "0:"+d.ids[0], ":", "-1:x", "99999999999999999:a")
	case "image", "tag", "base", "name", "queue", "host":
		return one(d, "a", "app:1", "main", "green", "busybox@sha256:"+zeros)
	}
	return one(d, "a", "1", "x y")
}

// part is a piece of a path in place of a wildcard.
func (d *drawing) part(name string) string {
	if d.IntN(5) == 0 {
		return url.PathEscape(d.hostile())
	}
	if d.IntN(12) == 0 {
		return one(d, "%2f", "%00", "%ff", "..", "%2e%2e", "%", "%zz", "a%2fb", ".")
	}
	switch name {
	case "id":
		return one(d, d.ids...)
	case "path...":
		return one(d, "srv/out", "srv/out/a", "srv/out/b/c", "srv/out/b", "srv/out/../a", "srv/out//a", "srv/out/none")
	case "digest":
		return one(d, append(d.digests, "sha256:"+zeros)...)
	case "upload":
		if len(d.uploads) > 0 {
			return one(d, d.uploads...)
		}
	case "kind":
		return one(d, "busy", "exit_nonzero", "none")
	case "queue":
		return one(d, "main", "builds", "Main")
	}
	return one(d, "none", d.ids[0], "h1", "w1")
}

// request draws one. It returns who sends it, and whether it may be cut off: its client does
// not send what it says it does.
func (d *drawing) request() (raw []byte, as string, upsets bool) {
	r := one(d, d.server.routes...)
	method := r.method
	if d.IntN(12) == 0 {
		method = one(d, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "FOO")
	}
	if method == "GET" && d.IntN(8) == 0 {
		method = "HEAD"
	}
	var b bytes.Buffer
	target := d.target(r)
	fmt.Fprintf(&b, "%s %s HTTP/1.%d\r\n", method, target, one(d, 1, 1, 1, 1, 1, 0))
	b.WriteString("Host: " + one(d, "127.0.0.1", "127.0.0.1", "evil.example", "[::1]:80") + "\r\n")
	as = one(d, "submitter", "reader", "operator", "admin", "blue", "green", "old", "admin", "green", "reader", "submitter", "")
	if as != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", d.tokens[as])
	} else if d.IntN(2) == 0 {
		b.WriteString(one(d, "Authorization: Basic dTpw\r\n", "Authorization: Bearer slipway_aaaaaaaaaa_x\r\n", "Authorization: Bearer "+strings.Repeat("_", 1000)+"\r\n"))
	}
	for range d.IntN(3) {
		b.WriteString(d.header() + "\r\n")
	}
	body, media := d.body(r)
	if media != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", media)
	}
	switch {
	case len(body) == 0 && d.IntN(2) == 0:
		b.WriteString("\r\n")
	case d.IntN(40) == 0: // it says more than it has
		upsets = true
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body)+1+d.IntN(100), body)
	case d.IntN(6) == 0:
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(body), body)
		if len(body) > 0 {
			b.WriteString("0\r\n\r\n")
		}
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	return b.Bytes(), as, upsets
}

func (d *drawing) target(r route) string {
	path := r.path
	for strings.Contains(path, "{") {
		before, rest, _ := strings.Cut(path, "{")
		name, after, _ := strings.Cut(rest, "}")
		path = before + d.part(name) + after
	}
	if d.IntN(25) == 0 {
		path = one(d, "/", "//", "/v1", "/v1/", "/v1//jobs", "/v1/./jobs", "/v1/../v1/jobs", "/%76%31/jobs", "*", "/v1/jobs/", "/v1/jobs%2fx", "/v1/jobs/bulk", "http://evil.example/v1/jobs", "/v1/jobs;a=b", "/"+strings.Repeat("a/", 2000))
	}
	q := url.Values{}
	names := slices.Concat(r.params, r.lists)
	if r.flags {
		names = append(names, d.server.Parameters...)
	}
	for range d.IntN(4) {
		name := "unknown"
		if len(names) > 0 && d.IntN(15) > 0 {
			name = one(d, names...)
		}
		q.Add(name, d.value(name))
	}
	if strings.HasSuffix(r.path, "/logs") { // what runs is not followed to its end
		q.Del("follow")
		if q.Get("format") == "sse" {
			q.Del("format")
		}
	}
	if r.path == "/v1/events" && !q.Has("for") { // it would go on
		q.Set("for", "10ms")
	}
	raw := q.Encode()
	if d.IntN(30) == 0 {
		raw += one(d, "&a;b", "&%zz", "&=", "&&&", "&a=%00")
	}
	if raw != "" {
		path += "?" + raw
	}
	return path
}

func (d *drawing) header() string {
	plain := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, d.hostile())
	name := one(d, "Idempotency-Key", "Prefer", "If-None-Match", "If-Match", "Range", "Last-Event-ID", "Accept", "Upload-Offset", "Upload-Complete", "Slipway-Document", "Cookie", "Origin", "X-Forwarded-For", "Expect", "Authorization", "Content-Encoding", "If-Modified-Since", "If-Range")
	if d.IntN(3) == 0 {
		return name + ": " + plain
	}
	switch name {
	case "Prefer":
		return name + ": wait=" + one(d, "0", "00000000", "x", "-1")
	case "If-None-Match", "If-Match", "If-Range":
		return name + ": " + one(d, "*", `"x"`, `W/"x"`, `"a", *`, ",,,")
	case "Range":
		return name + ": bytes=" + one(d, "0-", "-1", "0-0,2-2", "5-1", "100000-", "x", "0-18446744073709551615", "-0")
	case "Last-Event-ID":
		return name + ": " + one(d, "1:0", "1:20", "9:9", "x", "-1:0")
	case "Accept":
		return name + ": " + one(d, "text/plain", "application/json", "*/*")
	case "Upload-Offset":
		return name + ": " + one(d, "0", "10", "-1", "x", strconv.Itoa(d.IntN(2000)))
	case "Upload-Complete":
		return name + ": " + one(d, "?0", "?1", "1", "?2")
	case "Slipway-Document":
		return name + ": " + one(d, "{}", `{"run":{"image":"a"}}`, `{"context":{"ref":"file:///etc/passwd"}}`, "[", `{"tenant":"blue"}`)
	case "Expect":
		return name + ": 100-continue"
	}
	return name + ": x"
}

func (d *drawing) body(r route) (body []byte, media string) {
	media = one(d, "", "", "application/json", "application/x-tar", "application/x-www-form-urlencoded", "text/html", "x", "multipart/form-data", "application/json; charset=\xff", "multipart/form-data; boundary=")
	switch d.IntN(6) {
	case 0:
		return nil, media
	case 1:
		return []byte(d.hostile()), media
	}
	id := one(d, d.ids...)
	switch {
	case r.body == endless:
		tar := hello(d.t).Bytes()
		switch d.IntN(4) {
		case 0:
			tar = tar[:d.IntN(len(tar))]
		case 1:
			tar = slices.Clone(tar)
			tar[d.IntN(len(tar))] ^= byte(1 << d.IntN(8))
		}
		if d.IntN(3) > 0 {
			return tar, one(d, "", "application/x-tar")
		}
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		for _, name := range one(d, []string{"document", "context"}, []string{"context", "document"}, []string{"context"}, []string{"document"}, []string{"other"}, []string{"document", "document", "context"}) {
			p, _ := w.CreateFormFile(name, d.hostile()) // a buffer takes all
			if name == "document" {
				tar = []byte(one(d, `{}`, `{"run":{}}`, `{"name":"A"}`))
			}
			_, _ = p.Write(tar)
		}
		_ = w.Close()
		return form.Bytes(), w.FormDataContentType()
	case strings.HasSuffix(r.path, "/bulk"):
		return fmt.Appendf(nil, `{"action":%q,"ids":[%q,%q],"dry_run":%v}`, one(d, "cancel", "retry", "rerun", "x"), id, one(d, id, "x", d.ids[0]), one(d, "true", "true", "false", "1")), "application/json"
	case r.path == "/v1/tokens":
		return []byte(one(d, `{"name":"a","scopes":["read"]}`, `{"name":"a","scopes":["read"],"expires_in":"1h"}`, `{"name":"\u202e","scopes":["read"]}`, `{"name":"a","scopes":["read"],"expires_in":"99999999h"}`, `{"name":"a","scopes":["read"],"tenant":"../x"}`)), "application/json"
	case r.flags:
		return []byte(one(d, `{"run":{"image":"a"}}`, `{"run":{"image":"a"},"tenant":"blue"}`, `{"context":{"ref":"https://169.254.169.254/latest"},"build":{}}`, `{"context":{"ref":"file:///etc/passwd"},"build":{}}`,
			`{"run":{"image":"a","env":{"A":"$SLIPWAY_PLANTED"}}}`, `{"run":`, `{"run":{"image":"a"}}{}`, strings.Repeat(`{"a":`, 100), `{"labels":{"a":"\u0000"}}`, strings.Repeat(" ", 300_000), `{"idempotency_key":"k","run":{"image":"a"}}`)), "application/json"
	}
	return []byte(one(d, `{}`, `{"reason":"x"}`, `{"reason":"\u001b[31m","timeout":"1m"}`, `{"priority":"high"}`, `{"timeout":"-1s"}`, `[]`, `{"a":1}`)), "application/json"
}
