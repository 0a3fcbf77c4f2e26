// Package importtest holds the rules that keep the parts of the farm apart:
// which package may import which, that each says what it is for, and that no
// file grows without a reason. It has only tests; they read what `go list` says
// about the module and take well under a second.
package importtest
