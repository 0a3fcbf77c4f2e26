// Program frontend is a BuildKit frontend for tests: it has the daemon's own one
// build what it was asked for, and names its first argument as the image's author.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	"github.com/moby/buildkit/util/appcontext"
)

func main() {
	if err := grpcclient.RunFromEnvironment(appcontext.Context(), build); err != nil {
		fmt.Fprintln(os.Stderr, "frontend:", err)
		os.Exit(1)
	}
}

func build(ctx context.Context, c client.Client) (*client.Result, error) {
	// The options have the # syntax line that led here, so that the daemon's own
	// frontend does not follow it again.
	res, err := c.Solve(ctx, client.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: c.BuildOpts().Opts})
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if err := json.Unmarshal(res.Metadata[exptypes.ExporterImageConfigKey], &config); err != nil {
		return nil, fmt.Errorf("read the config of the image: %w", err)
	}
	config["author"] = os.Args[1]
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	res.AddMeta(exptypes.ExporterImageConfigKey, raw)
	return res, nil
}
