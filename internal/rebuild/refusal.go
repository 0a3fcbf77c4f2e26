package rebuild

import (
	"fmt"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Refusal is an error that those who ask for something can do something about.
type Refusal interface {
	error
	// Hint says what, "" when the error says it.
	Hint() string
}

// Refused is a refusal that callers need not tell from others.
type Refused struct{ Text, Advice string }

func (e *Refused) Error() string { return e.Text }

// Hint implements Refusal.
func (e *Refused) Hint() string { return e.Advice }

// CycleError says that images stand on each other, so that there is no order to build
// them in.
type CycleError struct {
	// Path begins and ends with the same recipe.
	Path []string
}

func (e *CycleError) Error() string {
	return "the recipes stand on each other: " + strings.Join(e.Path, " -> ")
}

// Hint implements Refusal.
func (*CycleError) Hint() string {
	return "give one of them another tag, or remove its recipe with enqueue recipes rm"
}

// UnknownError says that a question is about something that no recipe knows.
type UnknownError struct {
	// What is "base" or "recipe".
	What, Name string
	// Nearest is the most similar name, "" when none is.
	Nearest string
}

func (e *UnknownError) Error() string {
	if e.What == "base" {
		return "no recipe stands on " + e.Name
	}
	return "no recipe has the name " + e.Name
}

// Hint implements Refusal.
func (e *UnknownError) Hint() string {
	if e.Nearest != "" {
		return fmt.Sprintf("did you mean %s?", e.Nearest)
	}
	return "enqueue recipes ls shows what the images stand on"
}

// UnpushedError says that images stand on images that no registry has.
type UnpushedError struct {
	// Name is the first of them, On what it stands on, More how many others there are.
	Name, On string
	More     int
}

func (e *UnpushedError) Error() string {
	text := fmt.Sprintf("%s stands on %s, which only its build host has: another host would build it on what it has under that name", e.Name, e.On)
	if e.More > 0 {
		text += fmt.Sprintf(" (%d more images like that)", e.More)
	}
	return text
}

// Hint implements Refusal.
func (e *UnpushedError) Hint() string {
	return "have " + e.On + " pushed to a registry (submit --push), and submit " + e.Name + " once more"
}

// BusyError says that a rebuild is about to build an image already.
type BusyError struct {
	Rebuild jobs.Rebuild
	Image   string
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("rebuild %s is about to build %s already", e.Rebuild.ID, e.Image)
}

// Hint implements Refusal.
func (e *BusyError) Hint() string {
	end := ", or end it (enqueue rebuild cancel " + e.Rebuild.ID + ")"
	if e.Rebuild.State == jobs.RebuildPaused {
		return "it is paused: go on with it (enqueue rebuild resume " + e.Rebuild.ID + ")" + end
	}
	return "wait for it (enqueue rebuild watch " + e.Rebuild.ID + ")" + end
}
