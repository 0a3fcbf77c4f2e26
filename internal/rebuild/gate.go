package rebuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Gate has the last word before tags are moved: refusal says why they stay, "" that they may
// move. An error says that it could not be asked; it is asked again then.
type Gate func(ctx context.Context, c Candidate) (refusal string, err error)

// Candidate is what a gate judges. It gets it as JSON.
type Candidate struct {
	Rebuild string `json:"rebuild"`
	Name    string `json:"name"`
	Because string `json:"because"`
	Job     string `json:"job"`
	// Tags are to be moved. The registries have the new image under its digest.
	Tags []jobs.TagMove `json:"tags"`
	// Materials are what the image was built on.
	Materials []jobs.BaseImage `json:"materials,omitempty"`
}

// maxRefusal bounds what is kept of the words of a gate, in bytes.
const maxRefusal = 1000

// NewGate makes the gate that a target names: a URL that candidates are posted to, which
// answers with a status from 200 to 299 when the tags may move, or the path of a program that
// reads one from its standard input, and ends with 0 then. nil for "".
func NewGate(target string) Gate {
	switch {
	case target == "":
		return nil
	case strings.HasPrefix(target, "http://"), strings.HasPrefix(target, "https://"):
		return func(ctx context.Context, c Candidate) (string, error) { return askURL(ctx, target, c) }
	}
	return func(ctx context.Context, c Candidate) (string, error) { return askProgram(ctx, target, c) }
}

func askURL(ctx context.Context, url string, c Candidate) (refusal string, err error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode a candidate: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return "", fmt.Errorf("ask the gate: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the gate: %w", err)
	}
	defer resp.Body.Close()
	words, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	switch {
	case resp.StatusCode < 300:
		return "", nil
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests: // it has not judged
		return "", fmt.Errorf("ask the gate: it answered with %s", resp.Status)
	case err != nil:
		return "", fmt.Errorf("read what the gate said: %w", err)
	}
	return orStatus(words, resp.Status), nil
}

// orStatus are the words of a gate, or how it ended when it said nothing.
func orStatus(words []byte, status string) string {
	if text := strings.TrimSpace(string(words)); text != "" {
		return text
	}
	return status
}

// killTime is how long what a killed program has started may keep its output open.
const killTime = time.Second

func askProgram(ctx context.Context, path string, c Candidate) (refusal string, err error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode a candidate: %w", err)
	}
	cmd := exec.CommandContext(ctx, path)
	said := &lastBytes{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = bytes.NewReader(raw), said, said, killTime
	killWhole(cmd)
	err = cmd.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("ask the gate: %w", ctx.Err())
	case errors.As(err, &ended) && ended.Exited():
		return orStatus(said.b, ended.String()), nil
	}
	return "", fmt.Errorf("ask the gate: %w", err)
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct{ b []byte }

// Write implements io.Writer.
func (l *lastBytes) Write(p []byte) (int, error) {
	l.b = append(l.b, p...)
	l.b = l.b[max(0, len(l.b)-maxRefusal):]
	return len(p), nil
}
