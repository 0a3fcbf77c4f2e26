// Package doctest runs the commands that pages of the documentation give to people, and
// compares what they print with what the pages say. The tests of internal/e2e call it.
//
// A page is one session: all of its blocks run in one bash on one terminal, in their order, so
// that directories, variables and background jobs live on. Two kinds of blocks are run:
//
//   - ```console has commands after "$ ", continued by lines after "> ", and below each what it
//     prints, on stdout and stderr. A line ^C stands for Ctrl-C: it is pressed when the line
//     before it has appeared.
//   - ```sh has commands alone, which must succeed.
//
// What a command prints has to be what the page says, but for this:
//
//   - ... on a line of its own stands for any lines, and within a line for any text.
//   - IDs of jobs, digests, times, durations and sizes are compared by shape: any of one kind is
//     like any other. Spaces count as one, so that columns may be wider.
//   - What the shell says of the end of a command in the background is left out.
//   - An ID on a page stands for the ID that the run has in its place, from then on: commands
//     below get that one, and an output that has another is wrong. The same holds for the
//     beginning of an ID, from eight characters on, and for the hash of a plan.
//
// With [Options.Update] a page gets the outputs of the run where they differ; its IDs stay where
// they can.
package doctest
