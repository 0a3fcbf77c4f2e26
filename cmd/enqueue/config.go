package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/redisconn"
)

// config is the file of a user's farms. Each is a context: a server with a token, or Redis
// and a store.
type config struct {
	Current  string                 `yaml:"current,omitempty"`
	Contexts map[string]farmContext `yaml:"contexts,omitempty"`
}

// farmContext is how a farm is reached.
type farmContext struct {
	Server    string `yaml:"server,omitempty"`
	TokenFile string `yaml:"token_file,omitempty"`
	Redis     string `yaml:"redis,omitempty"`
	Store     string `yaml:"store,omitempty"`
}

// configPath is where the file is.
func (a *app) configPath() string {
	switch {
	case a.getenv("SLIPWAY_CONFIG") != "":
		return a.getenv("SLIPWAY_CONFIG")
	case a.getenv("XDG_CONFIG_HOME") != "":
		return filepath.Join(a.getenv("XDG_CONFIG_HOME"), "slipway", "config.yaml")
	}
	return filepath.Join(a.getenv("HOME"), ".config", "slipway", "config.yaml")
}

// readConfig reads the file. One that is not there has no contexts.
func (a *app) readConfig() (c config, err error) {
	path := a.configPath()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return c, usage("", "the configuration %s cannot be read: %v", path, pathReason(err))
	}
	err = yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&c)
	if err != nil && !errors.Is(err, io.EOF) {
		return c, usage("correct it, or remove it", "the configuration %s: %s", path, oneLine(err.Error()))
	}
	return c, nil
}

// writeConfig replaces the file, whole or not at all. A URL of Redis may have a password.
func (a *app) writeConfig(c config) error {
	path := a.configPath()
	text, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return usage("", "the configuration %s cannot be written: %v", path, pathReason(err))
	}
	if err := atomicfile.Write(path, text); err != nil {
		return usage("", "the configuration %s cannot be written: %v", path, pathReason(err))
	}
	return nil
}

// find returns a context by its name.
func (c config) find(name string) (farmContext, error) {
	if f, ok := c.Contexts[name]; ok {
		return f, nil
	}
	known := slices.Sorted(maps.Keys(c.Contexts))
	hint := "enqueue context ls lists the contexts"
	if n := jobs.Nearest(name, known); n != "" {
		hint = fmt.Sprintf("did you mean %s?", n)
	}
	return farmContext{}, usage(hint, "no such context: %s", name)
}

// setting is one of those that say how the farm is reached.
type setting struct {
	name, env string
	value     *string
	of        func(farmContext) string
	// way is true for those that name a farm: its server, or its Redis.
	way bool
	// origin says where the value comes from, once it is settled.
	origin string
}

func (a *app) settings() []*setting {
	return []*setting{
		{name: "server", env: "SLIPWAY_SERVER", value: &a.server, of: func(f farmContext) string { return f.Server }, way: true},
		{name: "token-file", env: "SLIPWAY_TOKEN_FILE", value: &a.tokenFile, of: func(f farmContext) string { return f.TokenFile }},
		{name: "redis", env: "SLIPWAY_REDIS", value: &a.redisURL, of: func(f farmContext) string { return f.Redis }, way: true},
		{name: "store", env: "SLIPWAY_STORE", value: &a.storeURL, of: func(f farmContext) string { return f.Store }},
	}
}

// The origins of settings, the first that has one counts.
const (
	fromFlag    = "flag"
	fromEnv     = "environment"
	fromContext = "context"
	fromDefault = "default"
)

// settle takes each setting from its flag, else from the environment, else from the context of
// the configuration, else its default. Of a server and a Redis the one that comes first so is
// the way to the farm: then the other is left out.
func (a *app) settle() ([]*setting, error) {
	all := a.settings()
	c, err := a.readConfig()
	if err != nil {
		return all, err
	}
	name := a.contextName
	if name == "" {
		name = c.Current
	}
	var context farmContext
	if name != "" {
		if context, err = c.find(name); err != nil {
			return all, err
		}
	}
	order := []string{fromFlag, fromEnv, fromContext, fromDefault}
	rank := map[string]int{}
	for _, s := range all {
		switch {
		case a.given != nil && a.given(s.name):
			s.origin = fromFlag
		case a.getenv(s.env) != "":
			s.origin = fromEnv + " " + s.env
		case s.of(context) != "":
			*s.value, s.origin = s.of(context), fromContext+" "+name
		default:
			s.origin = fromDefault
		}
		word, _, _ := strings.Cut(s.origin, " ")
		rank[s.name] = slices.Index(order, word)
	}
	if a.server != "" && rank["redis"] < rank["server"] {
		a.server = ""
		all[0].origin = all[2].origin + ", which names a Redis"
	}
	return all, nil
}

// shown is the value of a setting without its password.
func (s setting) shown() string {
	if s.name == "redis" {
		return redisconn.Redact(*s.value)
	}
	return *s.value
}
