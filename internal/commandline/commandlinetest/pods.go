package commandlinetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// image is what deploy/compose.yaml calls the one of the programs.
const image = "slipway:latest"

// Container is one of a pod that runs a program of the farm.
type Container struct {
	Command
	// Env are the names of the variables that it sets.
	Env []string
	// Grace is how long the pod may take to end.
	Grace time.Duration
}

// StoreVariables are those that S3 programs share.
func StoreVariables() []string {
	return []string{"AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
}

// pod is the part of a pod's spec that is held to the programs.
type pod struct {
	Grace      int `yaml:"terminationGracePeriodSeconds"`
	Containers []struct {
		Image         string
		Command, Args []string
		Env           []struct{ Name string }
	}
}

// Containers returns the containers that run a program in these Kubernetes manifests, of
// which there must be some. All have the image that the compose file makes.
func Containers(t *testing.T, program string, files ...string) (all []Container) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, doc := range strings.Split(string(text), "\n---\n") {
			where := fmt.Sprintf("%s, document %d", filepath.Base(file), i+1)
			var tree any
			if err := yaml.Unmarshal([]byte(doc), &tree); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			for _, p := range pods(t, where, tree) {
				for _, c := range p.Containers {
					words := append(c.Command, c.Args...)
					if len(words) == 0 || words[0] != program {
						continue
					}
					if c.Image != image {
						t.Errorf("%s: the image is %s; want %s", where, c.Image, image)
					}
					found := Container{Command{where, words[1:], false}, nil, time.Duration(p.Grace) * time.Second}
					for _, v := range c.Env {
						found.Env = append(found.Env, v.Name)
					}
					all = append(all, found)
				}
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("%d files have no container with %s", len(files), program)
	}
	return all
}

// pods finds the specs of pods wherever they are: each kind has them elsewhere.
func pods(t *testing.T, where string, tree any) (all []pod) {
	t.Helper()
	switch tree := tree.(type) {
	case map[string]any:
		if tree["containers"] != nil {
			text, err := yaml.Marshal(tree)
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			var p pod
			if err := yaml.Unmarshal(text, &p); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			return []pod{p}
		}
		for _, v := range tree {
			all = append(all, pods(t, where, v)...)
		}
	case []any:
		for _, v := range tree {
			all = append(all, pods(t, where, v)...)
		}
	}
	return all
}
