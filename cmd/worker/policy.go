package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/policy"
)

// imageNames returns a policy's rules for the names that jobs give to images.
func imageNames(p policy.Policy) images.Rules {
	return images.Rules{Tag: p.Images.Tag, Replace: p.Images.Replace, Frontends: p.Dockerfile.Frontends}
}

// networks returns the networks that the address guard lets through. policy.Load has
// checked their syntax, so MustParsePrefix cannot panic.
func networks(list []string) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(list))
	for _, n := range list {
		all = append(all, netip.MustParsePrefix(n))
	}
	return all
}

// only returns those of a source's schemes that the policy allows.
func only(p policy.Policy, schemes ...string) []string {
	return slices.DeleteFunc(schemes, func(s string) bool { return !slices.Contains(p.Context.Schemes, s) })
}

// checkPolicy loads a policy as a worker on this host does, and fails like one when a
// folder or a key that the policy names is missing.
func checkPolicy(file string) (policy.Policy, error) {
	p, err := policy.Load(file)
	if err == nil {
		_, err = newFetcher(p, artifacts.NewBlobs(nil, ""), contexts.Options{})
	}
	return p, err
}

func policyCommand(getenv func(string) string) *cobra.Command {
	return &cobra.Command{
		Use:   "policy [FILE]",
		Short: "Check a policy file and print the resulting policy, defaults included",
		Long:  "Checks a policy file as a worker on this host does, with the folders and keys that it names, and prints\nthe resulting policy. Without FILE it checks the file of SLIPWAY_POLICY, or prints the default.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := getenv("SLIPWAY_POLICY")
			if len(args) > 0 {
				file = args[0]
			}
			p, err := checkPolicy(file)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), p)
			return err
		},
	}
}
