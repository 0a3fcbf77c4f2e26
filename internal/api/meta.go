package api

import (
	_ "embed"
	"net/http"

	"github.com/slipway-farm/slipway/internal/jobs"
)

//go:embed openapi.yaml
var description []byte

// openAPI answers GET /openapi.yaml.
func (s *Server) openAPI(x *exchange) error { return x.file("application/yaml", description) }

// schema answers GET /schema.json, the JSON Schema of the job document.
func (s *Server) schema(x *exchange) error { return x.file("application/schema+json", jobs.Schema()) }

func (x *exchange) file(media string, content []byte) error {
	x.ResponseWriter.Header().Set("Content-Type", media)
	_, _ = x.ResponseWriter.Write(content) // the client sees that it is cut off
	return nil
}

// live answers GET /livez: the server answers.
func (s *Server) live(x *exchange) error {
	return x.json(http.StatusOK, map[string]string{"version": s.Version})
}

// ready answers GET /readyz: Redis and the artifact store can be used.
func (s *Server) ready(x *exchange) error {
	if err := s.Ready(x.Context()); err != nil {
		p := problem("server_not_ready", "")
		p.Detail, p.err = problemOf(err).Title, err
		return p
	}
	return s.live(x)
}
