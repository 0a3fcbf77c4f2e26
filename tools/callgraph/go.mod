// Counts calls between the files of a package, with the standard library alone,
// so that it needs nothing of what the other tools are built from.
module github.com/slipway-farm/slipway/tools/callgraph

go 1.26.8
