package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"time"
)

// bom is a document of CycloneDX 1.6, as far as it is used here
// (https://cyclonedx.org/docs/1.6/json/).
type bom struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// describe lists what a program is made of: its own module with the hash of the file, then
// the standard library, then modules in the order that the compiler noted, which is sorted.
func describe(info *debug.BuildInfo, program []byte, version string, at time.Time) bom {
	sum := sha256.Sum256(program)
	own := library(info.Main.Path, version)
	own.Type, own.Name = "application", path.Base(info.Path)
	own.PURL += "#" + strings.TrimPrefix(strings.TrimPrefix(info.Path, info.Main.Path), "/")
	own.Ref = own.PURL
	own.Hashes = []hash{{"SHA-256", hex.EncodeToString(sum[:])}}
	for _, s := range info.Settings {
		if s.Key == "GOOS" || s.Key == "GOARCH" {
			own.Properties = append(own.Properties, property{"go:" + s.Key, s.Value})
		}
	}
	all := []component{library("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, library(m.Path, m.Version))
	}
	return bom{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata:   metadata{at.UTC().Format(time.RFC3339), own},
		Components: all,
	}
}

// library is a Go module by its package URL, of which the parts before the version are in
// lower case (https://github.com/package-url/purl-spec, type golang).
func library(module, version string) component {
	parts := strings.Split(strings.ToLower(module), "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	purl := "pkg:golang/" + strings.Join(parts, "/")
	if version != "" { // a module replaced by a folder has none
		purl += "@" + url.QueryEscape(version)
	}
	return component{Type: "library", Ref: purl, Name: module, Version: version, PURL: purl}
}

func write(w io.Writer, b bom) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(b)
}
