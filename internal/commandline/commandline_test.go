package commandline

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// program is a command line with a command of its own flags.
func program(env Environment) (root *cobra.Command, slots *int) {
	root = &cobra.Command{Use: "farmer", Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true}
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := BadUsage(env.Unknown(root, "SLIPWAY_PROGRESS")); err != nil {
			return err
		}
		return FromEnvironment(cmd, env.Get)
	}
	slots = root.Flags().Int("slots", 2, "")
	root.Flags().Float64("cpus", 0, "")
	root.Flags().Duration("drain", time.Minute, "")
	root.Flags().Bool("supervise", true, "")
	root.Flags().StringToString("label", nil, "")
	sub := &cobra.Command{Use: "plant", Args: cobra.ExactArgs(1), RunE: root.RunE}
	sub.Flags().Bool("dry-run", false, "")
	root.AddCommand(sub)
	Polite(root)
	return root, slots
}

// A flag wins over the environment, which wins over the default.
func TestFromEnvironment(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env  Environment
		args []string
		want int
	}{
		{nil, nil, 2},
		{Environment{"SLIPWAY_SLOTS="}, nil, 2},
		{Environment{"SLIPWAY_SLOTS=7"}, nil, 7},
		{Environment{"SLIPWAY_SLOTS=7", "SLIPWAY_SLOTS=8"}, nil, 8},
		{Environment{"SLIPWAY_SLOTS=7"}, []string{"--slots", "3"}, 3},
		{Environment{"SLIPWAY_SLOTS=7"}, []string{"--slots", "2"}, 2},
	} {
		root, slots := program(tt.env)
		root.SetArgs(append([]string{}, tt.args...))
		if err := root.ExecuteContext(t.Context()); err != nil || *slots != tt.want {
			t.Errorf("%v %v: %d slots, %v; want %d", tt.env, tt.args, *slots, err, tt.want)
		}
	}
}

// A mistake is an error of usage that says what was wanted, or may have been meant.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env  Environment
		args []string
		want string
	}{
		{nil, []string{"--slots", "many"}, "--slots many: want a whole number"},
		{nil, []string{"--cpus", "many"}, "--cpus many: want a number"},
		{nil, []string{"--drain", "soon"}, "--drain soon: want a duration such as 90s or 10m"},
		{nil, []string{"--supervise=perhaps"}, "--supervise perhaps: want true or false"},
		{nil, []string{"--label", "gpu"}, "--label gpu: want key=value"},
		{nil, []string{"--slot", "1"}, "unknown flag --slot: did you mean --slots?"},
		{nil, []string{"--weather"}, "unknown flag --weather: farmer --help lists them"},
		{nil, []string{"plan"}, `unknown argument "plan": did you mean farmer plant?`},
		{nil, []string{"want"}, `unknown argument "want": farmer --help says what it takes`},
		{nil, []string{"weather"}, `unknown argument "weather": farmer --help says what it takes`},
		{nil, []string{"plant", "a", "b"}, `unknown argument "b": farmer plant --help says what it takes`},
		{nil, []string{"plant"}, "accepts 1 arg(s), received 0"},
		{Environment{"SLIPWAY_SLOTS=many"}, nil, `SLIPWAY_SLOTS="many": want a whole number`},
		{Environment{"SLIPWAY_SLOT=1"}, nil, "unknown environment variable SLIPWAY_SLOT: did you mean SLIPWAY_SLOTS?"},
		{Environment{"SLIPWAY_DRYRUN=1"}, nil, "did you mean SLIPWAY_DRY_RUN?"}, // another command's
		{Environment{"SLIPWAY_WEATHER=hunter2"}, nil, "unknown environment variable SLIPWAY_WEATHER: farmer --help lists the flags, and each has a variable"},
	} {
		root, _ := program(tt.env)
		root.SetArgs(append([]string{}, tt.args...))
		err := root.ExecuteContext(t.Context())
		if !errors.As(err, new(UsageError)) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v %v: error %v; want one of usage that says %q", tt.env, tt.args, err, tt.want)
		}
	}
	if BadUsage(nil) != nil {
		t.Error("no error became one of usage")
	}
}

// Variables that are set on purpose, or by other programs, are left alone.
func TestVariablesOfOthers(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{
		"SLIPWAY_DRY_RUN=x", "SLIPWAY_PROGRESS=x", "SLIPWAY_SLOT=", "slipway_slot=x", "MY_SLIPWAY_SLOT=x", "SLIPWAY_REDIS_SERVICE_HOST=x",
		"SLIPWAY_REDIS_SERVICE_PORT_TLS=x", "SLIPWAY_REDIS_PORT=x", "SLIPWAY_REDIS_PORT_6379_TCP=x", "SLIPWAY_REDIS_PORT_6379_TCP_ADDR=x",
	} {
		root, _ := program(nil)
		if err := (Environment{entry}).Unknown(root, "SLIPWAY_PROGRESS"); err != nil {
			t.Errorf("%s: %v; want it left alone", entry, err)
		}
	}
}

// What help and completion do not know is an error of usage, with the nearest that they do.
func TestStrict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want string }{
		{"help", ""},
		{"help plant", ""},
		{"completion", ""},
		{"completion bash", ""},
		{"help plan", `unknown argument "plan": did you mean farmer plant?`},
		{"help plant seed", `unknown argument "seed": farmer plant --help says what it takes`},
		{"completion tcsh", `unknown argument "tcsh": farmer completion --help says what it takes`},
		{"completion bach", "did you mean farmer completion bash?"},
	} {
		root, _ := program(nil)
		var out strings.Builder
		root.SetOut(&out)
		Strict(root, UnknownArgument)
		root.SetArgs(strings.Fields(tt.args))
		err := root.ExecuteContext(t.Context())
		switch {
		case tt.want == "" && (err != nil || out.Len() == 0):
			t.Errorf("%s: %v, printed %q; want help", tt.args, err, out.String())
		case tt.want != "" && (!errors.As(err, new(UsageError)) || !strings.Contains(err.Error(), tt.want) || out.Len() != 0):
			t.Errorf("%s: error %v, printed %q; want only one of usage that says %q", tt.args, err, out.String(), tt.want)
		}
	}
}

// A producer is told of what looks like one of its variables; what else there is may be a worker's.
func TestMistyped(t *testing.T) {
	t.Parallel()
	env := Environment{
		"SLIPWAY_SERVR=hunter2", "SLIPWAY_SERVER=x", "SLIPWAY_STATE=x", "SLIPWAY_STOR=", "SLIPWAY_SLOTS=3", "SLIPWAY_REDIS_PORT=x",
		"SLIPWAY_TOKENFILE=x",
	}
	want := []string{
		"unknown environment variable SLIPWAY_SERVR: did you mean SLIPWAY_SERVER?",
		"unknown environment variable SLIPWAY_TOKENFILE: did you mean SLIPWAY_TOKEN_FILE?",
	}
	if got := env.Mistyped(); !slices.Equal(got, want) {
		t.Errorf("found %q; want %q", got, want)
	}
}
