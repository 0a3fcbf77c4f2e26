package queue

import (
	"fmt"
	"log/slog"
	"strings"
)

// asynqLog puts asynq's own messages into the words and keys of the worker's log. asynq tries
// all of it again by itself.
type asynqLog struct{ lg *slog.Logger }

// Debug implements asynq.Logger.
func (l asynqLog) Debug(args ...any) { l.lg.Debug("asynq", "text", fmt.Sprint(args...)) }

// Info implements asynq.Logger.
func (l asynqLog) Info(args ...any) { l.lg.Info("asynq", "text", fmt.Sprint(args...)) }

// Warn implements asynq.Logger.
func (l asynqLog) Warn(args ...any) { l.say(l.lg.Warn, fmt.Sprint(args...)) }

// Error implements asynq.Logger.
func (l asynqLog) Error(args ...any) { l.say(l.lg.Error, fmt.Sprint(args...)) }

// Fatal implements asynq.Logger.
func (l asynqLog) Fatal(args ...any) { l.say(l.lg.Error, fmt.Sprint(args...)) }

// say logs what is known in the farm's words, and anything else as it is.
func (l asynqLog) say(otherwise func(string, ...any), text string) {
	for _, t := range translations() {
		if rest, found := strings.CutPrefix(text, t.begins); found && strings.HasSuffix(text, t.ends) {
			t.say(l.lg, strings.TrimSuffix(rest, t.ends))
			return
		}
	}
	otherwise("asynq", "text", text)
}

// translation is what a message of asynq means here.
type translation struct {
	begins, ends string
	// say logs it; rest is the message without its beginning and end.
	say func(lg *slog.Logger, rest string)
}

func translations() []translation {
	return []translation{
		{"Dequeue error: ", "", func(lg *slog.Logger, rest string) {
			lg.Warn("taking tickets failed; tried again", "err", cause(rest))
		}},
		{"Failed to forward scheduled tasks: ", "", func(lg *slog.Logger, rest string) {
			lg.Warn("looking for delayed tickets failed; tried again", "err", cause(rest))
		}},
		{"Failed to write server state data: ", "", func(lg *slog.Logger, rest string) {
			lg.Warn("telling asynq's tools of this worker failed; tried again", "err", cause(rest))
		}},
		{"Failed to clear server state: ", "", func(lg *slog.Logger, rest string) {
			lg.Warn("telling asynq's tools that this worker ends failed; they forget it by themselves", "err", cause(rest))
		}},
		{"Failed to extend lease for tasks ", "", func(lg *slog.Logger, rest string) {
			lg.Warn("prolonging the leases of tickets failed; they may be delivered again, which starts no job twice", "err", cause(rest))
		}},
		{"Lease reset failed for ", "", func(lg *slog.Logger, rest string) {
			lg.Warn("prolonging the lease of a ticket failed; it may be delivered again, which starts no job twice", "task", rest)
		}},
		{"Could not push task id=", "", func(lg *slog.Logger, rest string) {
			task, err, _ := strings.Cut(rest, " back to queue: ")
			lg.Warn("handing back a ticket failed; it is delivered again when its lease has passed", "task", task, "err", cause(err))
		}},
		{"", "; Will retry syncing", func(lg *slog.Logger, rest string) {
			lg.Warn("removing a ticket that is spent failed; tried again", "err", cause(rest))
		}},
		{"recoverer: could not ", "", func(lg *slog.Logger, rest string) {
			lg.Warn("taking back tickets of lost workers failed; tried again", "err", cause(rest))
		}},
		{"Failed to delete expired completed tasks from queue ", "", func(lg *slog.Logger, rest string) {
			lg.Warn("removing finished tasks failed; tried again", "err", cause(rest))
		}},
		{"cannot subscribe to cancelation channel: ", "", func(lg *slog.Logger, rest string) {
			lg.Warn("subscribing to asynq's cancellations failed; tried again", "err", cause(rest))
		}},
		{"Retry exhausted for task id=", "", func(lg *slog.Logger, rest string) {
			lg.Warn("asynq takes back a task that was tried as often as its producer allows; its job is on record", "task", rest)
		}},
		{"Quitting worker. task id=", "", func(lg *slog.Logger, rest string) {
			lg.Debug("a ticket is left at the end of the worker", "task", rest)
		}},
	}
}

// cause is an error of asynq's without the codes before it, which say nothing more.
func cause(text string) string {
	for {
		code, rest, found := strings.Cut(text, ": ")
		if !found || code == "" || strings.ToUpper(code) != code || strings.ContainsAny(code, " 0123456789") {
			return text
		}
		text = rest
	}
}
