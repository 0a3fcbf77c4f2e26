package imagecontent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// runConfig is what of an image's config changes how a container runs, or what is built
// on the image: its platform, and all fields of its "config" but those that builders leave
// behind of their own containers and that no container gets. A field that is unknown here
// counts. One that is null, false, 0 or empty is as good as none.
//
// Two labels do not count: org.opencontainers.image.created differs with each build, and
// org.opencontainers.image.base.digest with each new base, whose layers say better whether
// it is another one. All others do, as users ask for them: the revision and the version
// are those of the source, and base.name changes only when the Dockerfile does. A field
// of the file that is left out (created, author, history, docker_version, container) says
// how and when the image was built.
type runConfig map[string]any

func runConfigOf(img v1.Image) (runConfig, error) {
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the config of an image: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // nanoseconds do not fit into a float
	var file map[string]any
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("decode the config of an image: %w", err)
	}
	c := runConfig{}
	for _, name := range []string{"architecture", "os", "os.version", "os.features", "variant", "config"} {
		c[name] = file[name]
	}
	if config, ok := c["config"].(map[string]any); ok {
		for _, name := range []string{
			"AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Hostname", "Image",
			"MacAddress", "NetworkDisabled", "OpenStdin", "StdinOnce", "Tty",
		} {
			delete(config, name)
		}
		if labels, ok := config["Labels"].(map[string]any); ok {
			delete(labels, "org.opencontainers.image.created")
			delete(labels, "org.opencontainers.image.base.digest")
		}
		if check, ok := config["Healthcheck"].(map[string]any); ok {
			dropEmpty(check)
		}
		dropEmpty(config)
	}
	dropEmpty(c)
	return c, nil
}

// dropEmpty removes the fields of an object that are null, false, 0 or empty.
func dropEmpty(object map[string]any) {
	for name, value := range object {
		empty := false
		switch v := value.(type) {
		case nil:
			empty = true
		case bool:
			empty = !v
		case json.Number:
			empty = v == "0"
		case string:
			empty = v == ""
		case []any:
			empty = len(v) == 0
		case map[string]any:
			empty = len(v) == 0
		}
		if empty {
			delete(object, name)
		}
	}
}

// sameConfig reports whether two images run alike.
func sameConfig(a, b v1.Image) (bool, error) {
	left, err := runConfigOf(a)
	if err != nil {
		return false, err
	}
	right, err := runConfigOf(b)
	if err != nil {
		return false, err
	}
	return reflect.DeepEqual(left, right), nil
}
