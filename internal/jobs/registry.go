package jobs

import "strings"

// DockerHub is the registry of images without a host in their name.
const DockerHub = "docker.io"

// RegistryOf returns the registry host of an image's name in lower case, with its
// port if the name has one, such as registry.example.com:5000. It follows the
// grammar of github.com/distribution/reference; a text that is no name has a
// registry, too, so that none goes unjudged.
func RegistryOf(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" && host == strings.ToLower(host) {
		return DockerHub
	}
	if host = strings.ToLower(host); host == "index.docker.io" {
		return DockerHub
	}
	return host
}
