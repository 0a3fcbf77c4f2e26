// Lists what a program is made of, with the standard library alone.
module github.com/slipway-farm/slipway/tools/sbom

go 1.26.8
