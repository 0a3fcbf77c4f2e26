// Package pages is the farm in a browser: jobs, their logs, and hosts, as pages that are
// complete without scripts. The program enqueue serves them beside the HTTP API.
//
// Pages are a client of the API like any other: each of their requests goes through it
// with the visitor's own token, so that scopes, tenants, limits and the trail are the
// API's, and pages can do nothing that the token could not do without them.
package pages
