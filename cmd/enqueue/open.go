package main

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) openCmd() *cobra.Command {
	return &cobra.Command{
		Use: "open ID", Short: "Print the address of a job's page, and show it", Args: ids(1, 1), ValidArgsFunction: a.completeIDs,
		Long: `Print the address of a job's page on the farm's server. On a terminal of a desktop the browser
shows it, too.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := a.getAll(cmd.Context(), args)
			if err != nil {
				return err
			}
			if a.server == "" {
				return usage("give the farm's server (enqueue serve) with --server, SLIPWAY_SERVER or a context", "pages are the server's, and this farm is reached by its Redis")
			}
			page, err := url.JoinPath(a.server, "jobs", list[0].ID)
			if err != nil {
				return fmt.Errorf("make the address of the page: %w", err)
			}
			if _, err := fmt.Fprintln(a.stdout, page); err != nil {
				return err
			}
			if isTerminal(a.stdout) {
				a.browse(cmd.Context(), page)
			}
			return nil
		},
	}
}

// browsePatience is how long the desktop may take to hand a page to a browser.
const browsePatience = 5 * time.Second

// browse has the desktop show a page. Without one nothing is tried: what opens pages there
// would take over the terminal.
func (a *app) browse(ctx context.Context, page string) {
	program := "xdg-open"
	switch {
	case runtime.GOOS == "darwin":
		program = "open"
	case a.getenv("DISPLAY") == "" && a.getenv("WAYLAND_DISPLAY") == "":
		return
	}
	ctx, cancel := context.WithTimeout(ctx, browsePatience)
	defer cancel()
	if err := exec.CommandContext(ctx, program, page).Run(); err != nil {
		fmt.Fprintf(a.stderr, "%s: %v\n", program, err)
	}
}
