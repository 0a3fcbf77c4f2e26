package api

import (
	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// route is a row of the table of routes.
type route struct {
	method, path string
	// scope that a token needs, "" for a route that is open to all.
	scope access.Scope
	// farm is about the whole farm: no token of a tenant may use it.
	farm bool
	// params are the parameters that may come once, lists those that may be repeated; flags
	// takes those of a job document, too.
	params, lists []string
	flags         bool
	// body is how large one may be, in bytes; 0 for none, endless for one that the handler
	// bounds.
	body int64
	do   func(*Server, *exchange) error
}

// valid is what every token has.
const valid access.Scope = "valid"

const (
	endless = -1
	// smallBody is for documents about other things than jobs.
	smallBody = 64 << 10
)

func routes() []route {
	const (
		none    = access.Scope("")
		submit  = access.Submit
		read    = access.Read
		operate = access.Operate
		admin   = access.Admin
	)
	waits := []string{"wait", "fail"}
	return []route{
		{method: "POST", path: "/v1/build", scope: submit, params: waits, flags: true, body: endless, do: (*Server).build},
		{method: "POST", path: "/v1/jobs", scope: submit, params: waits, flags: true, body: jobs.MaxSpecBytes, do: (*Server).submit},
		{method: "GET", path: "/v1/jobs", scope: read, params: listParams(), lists: []string{"state", "kind", "id"}, do: (*Server).list},
		{method: "POST", path: "/v1/jobs/batch", scope: submit, body: batchBody, do: (*Server).batch},
		{method: "POST", path: "/v1/jobs/bulk", scope: submit, body: smallBody, do: (*Server).bulk},
		{method: "GET", path: "/v1/jobs/{id}", scope: read, params: waits, do: (*Server).get},
		{method: "POST", path: "/v1/jobs/{id}/cancel", scope: submit, body: smallBody, do: (*Server).cancel},
		{method: "POST", path: "/v1/jobs/{id}/retry", scope: submit, params: waits, body: smallBody, do: (*Server).retry},
		{method: "POST", path: "/v1/jobs/{id}/rerun", scope: submit, params: waits, body: smallBody, do: (*Server).rerun},
		{method: "GET", path: "/v1/jobs/{id}/logs", scope: read, params: []string{"format", "follow", "attempt", "after"}, do: (*Server).logs},
		{method: "GET", path: "/v1/jobs/{id}/failure", scope: read, params: []string{"max_bytes"}, do: (*Server).failure},
		{method: "GET", path: "/v1/jobs/{id}/why", scope: read, do: (*Server).why},
		{method: "GET", path: "/v1/why", scope: read, lists: []string{"id"}, do: (*Server).whyAll},
		{method: "GET", path: "/v1/jobs/{id}/news", scope: read, params: []string{"event", "log", "wait"}, do: (*Server).news},
		{method: "GET", path: "/v1/jobs/{id}/events", scope: read, do: (*Server).events},
		{method: "GET", path: "/v1/jobs/{id}/steps", scope: read, do: (*Server).steps},
		{method: "GET", path: "/v1/jobs/{id}/outputs", scope: read, do: (*Server).outputs},
		{method: "GET", path: "/v1/jobs/{id}/outputs/{path...}", scope: read, params: []string{"tar"}, do: (*Server).output},

		{method: "POST", path: "/v1/contexts", scope: submit, params: []string{"dockerfile", "digest"}, body: endless, do: (*Server).putContext},
		{method: "GET", path: "/v1/contexts/{digest}", scope: submit, do: (*Server).context},
		{method: "GET", path: "/v1/contexts/{digest}/chunks", scope: submit, do: (*Server).chunks},
		{method: "PUT", path: "/v1/contexts/{digest}/chunks", scope: submit, body: endless, do: (*Server).putChunks},
		{method: "POST", path: "/v1/chunks/lacking", scope: submit, body: batchBody, do: (*Server).lacking},
		{method: "GET", path: "/v1/blobs/{digest}", scope: read, do: (*Server).blob},
		{method: "PUT", path: "/v1/blobs/{digest}", scope: submit, body: endless, do: (*Server).putBlob},
		{method: "POST", path: "/v1/uploads", scope: submit, params: []string{"dockerfile", "digest"}, body: endless, do: (*Server).beginUpload},
		{method: "GET", path: "/v1/uploads/{upload}", scope: submit, do: (*Server).upload},
		{method: "PATCH", path: "/v1/uploads/{upload}", scope: submit, body: endless, do: (*Server).resumeUpload},
		{method: "DELETE", path: "/v1/uploads/{upload}", scope: submit, do: (*Server).dropUpload},

		{method: "GET", path: "/v1/hosts", scope: read, farm: true, do: (*Server).hosts},
		{method: "GET", path: "/v1/hosts/{host}", scope: read, farm: true, do: (*Server).host},
		{method: "POST", path: "/v1/hosts/{host}/drain", scope: operate, farm: true, body: smallBody, do: (*Server).drain},
		{method: "POST", path: "/v1/hosts/{host}/cordon", scope: operate, farm: true, body: smallBody, do: (*Server).cordon},
		{method: "POST", path: "/v1/hosts/{host}/resume", scope: operate, farm: true, body: smallBody, do: (*Server).resumeHost},
		{method: "GET", path: "/v1/queues", scope: read, farm: true, lists: []string{"queue"}, do: (*Server).queues},
		{method: "POST", path: "/v1/queues/{queue}/pause", scope: operate, farm: true, body: smallBody, do: (*Server).pause},
		{method: "POST", path: "/v1/queues/{queue}/resume", scope: operate, farm: true, body: smallBody, do: (*Server).resumeQueue},
		{method: "POST", path: "/v1/queues/{queue}/weights", scope: operate, farm: true, body: smallBody, do: (*Server).weigh},

		{method: "GET", path: "/v1/recipes", scope: read, farm: true, do: (*Server).recipes},
		{method: "GET", path: "/v1/recipes/{name}", scope: read, farm: true, do: (*Server).recipe},
		{method: "PUT", path: "/v1/recipes/{name}", scope: operate, farm: true, body: batchBody, do: (*Server).learn},
		{method: "PUT", path: "/v1/recipes/{name}/settings", scope: operate, farm: true, body: smallBody, do: (*Server).setRecipe},
		{method: "DELETE", path: "/v1/recipes/{name}", scope: operate, farm: true, do: (*Server).removeRecipe},
		{method: "GET", path: "/v1/bases", scope: read, farm: true, do: (*Server).bases},
		{method: "POST", path: "/v1/bases/check", scope: operate, farm: true, do: (*Server).checkBases},
		{method: "GET", path: "/v1/rebuilds", scope: read, farm: true, do: (*Server).rebuilds},
		{method: "POST", path: "/v1/rebuilds", scope: operate, farm: true, body: smallBody, do: (*Server).beginRebuild},
		{method: "POST", path: "/v1/rebuilds/plan", scope: read, farm: true, body: smallBody, do: (*Server).planRebuild},
		{method: "GET", path: "/v1/rebuilds/{rebuild}", scope: read, farm: true, params: []string{"wait"}, lists: []string{"name"}, do: (*Server).rebuild},
		{method: "POST", path: "/v1/rebuilds/{rebuild}/pause", scope: operate, farm: true, do: rebuildVerb(rebuild.Pause)},
		{method: "POST", path: "/v1/rebuilds/{rebuild}/resume", scope: operate, farm: true, do: rebuildVerb(rebuild.Resume)},
		{method: "POST", path: "/v1/rebuilds/{rebuild}/cancel", scope: operate, farm: true, do: rebuildVerb(rebuild.Cancel)},
		{method: "POST", path: "/v1/rebuilds/{rebuild}/retry", scope: operate, farm: true, do: rebuildVerb(rebuild.Retry)},
		{method: "POST", path: "/v1/rebuilds/{rebuild}/rollback", scope: operate, farm: true, do: rebuildVerb(rebuild.Rollback)},

		{method: "GET", path: "/v1/webhooks", scope: operate, farm: true, do: (*Server).webhooks},
		{method: "POST", path: "/v1/webhooks", scope: operate, farm: true, body: smallBody, do: (*Server).addWebhook},
		{method: "PUT", path: "/v1/webhooks/{name}", scope: operate, farm: true, body: smallBody, do: (*Server).changeWebhook},
		{method: "DELETE", path: "/v1/webhooks/{name}", scope: operate, farm: true, do: (*Server).removeWebhook},
		{method: "POST", path: "/v1/webhooks/{name}/test", scope: operate, farm: true, body: smallBody, do: (*Server).testWebhook},
		{method: "GET", path: "/v1/calls", scope: operate, farm: true, params: []string{"hook", "limit"}, do: (*Server).calls},
		{method: "GET", path: "/v1/calls/{call}", scope: operate, farm: true, do: (*Server).call},
		{method: "POST", path: "/v1/calls/{call}/redeliver", scope: operate, farm: true, do: (*Server).redeliver},

		{method: "GET", path: "/v1/tokens", scope: admin, farm: true, do: (*Server).tokens},
		{method: "POST", path: "/v1/tokens", scope: admin, farm: true, body: smallBody, do: (*Server).addToken},
		{method: "DELETE", path: "/v1/tokens/{token}", scope: admin, farm: true, do: (*Server).revokeToken},
		{method: "GET", path: "/v1/trail", scope: admin, farm: true, params: []string{"limit"}, do: (*Server).trail},
		{method: "GET", path: "/v1/events", scope: read, params: []string{"for"}, do: (*Server).farmEvents},
		{method: "GET", path: "/v1/whoami", scope: valid, do: (*Server).whoami},

		{method: "GET", path: "/openapi.yaml", scope: none, do: (*Server).openAPI},
		{method: "GET", path: "/schema.json", scope: none, do: (*Server).schema},
		{method: "GET", path: "/problems/{kind}", scope: none, do: (*Server).describeProblem},
		{method: "GET", path: "/livez", scope: none, do: (*Server).live},
		{method: "GET", path: "/readyz", scope: none, do: (*Server).ready},
	}
}
