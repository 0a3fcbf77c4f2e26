package commandline

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Strict has help and completion refuse what they do not know: cobra shows the help of
// the program and ends with 0, which a script takes for an answer. unknown makes the
// error of a word that no command below cmd has. The outputs of root are set before.
func Strict(root *cobra.Command, unknown func(cmd *cobra.Command, word string) error) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			show := cmd.Run
			cmd.Run, cmd.RunE = nil, func(help *cobra.Command, args []string) error {
				about, rest, _ := root.Find(args) // what is not found is the rest
				if len(rest) > 0 {
					return unknown(about, rest[0])
				}
				show(help, args)
				return nil
			}
		case "completion":
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = func(completion *cobra.Command, args []string) error {
				if len(args) > 0 {
					return unknown(completion, args[0])
				}
				return completion.Help()
			}
		}
	}
}

// UnknownArgument is an error of usage that names the command that may have been meant.
func UnknownArgument(cmd *cobra.Command, arg string) error {
	return BadUsage(fmt.Errorf("unknown argument %q: %s", arg, suggestion(cmd, arg)))
}
