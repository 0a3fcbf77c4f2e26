//go:build integration

package pages

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("pages.screenshots", "", "directory that gets a picture of each page in each theme and width")

// patience is for how long the browser of a busy machine is waited for.
const patience = time.Minute

// tab is a page in a real browser. What the browser complains about fails the test.
type tab struct {
	*farm
	ctx context.Context

	mu         sync.Mutex
	complaints []string
	// expected are parts of complaints that a test brings about.
	expected []string
}

// browse opens a browser, signed in as one of the principals unless as is "".
func (f *farm) browse(as string) *tab {
	t := f.t
	t.Helper()
	program := ""
	for _, name := range []string{"chromium-headless-shell", "chromium"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Fatal("there is no chromium: run scripts/ensure-tools.sh test")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.Flag("force-color-profile", "srgb"))
	alloc, end := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(end)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(end)
	b := &tab{farm: f, ctx: ctx}
	b.do(chromedp.EmulateViewport(1280, 900))
	messages := chromedp.Console(ctx)
	var listener sync.WaitGroup
	listener.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.complaints = append(b.complaints, fmt.Sprintf("%s %s:%d %s", m.Type, m.URL, m.Line, m.Text))
			b.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		end()
		listener.Wait()
		for _, c := range b.complaints {
			if !b.expects(c) {
				t.Errorf("the browser says: %s", c)
			}
		}
	})
	_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: `document.addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective, e.blockedURI, e.sourceFile, e.lineNumber))`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if as != "" {
		b.open("/login")
		b.do(chromedp.SendKeys(chromedp.CSS("#token"), f.tokens[as]+"\r"))
		b.until("the list of jobs", `location.pathname === '/jobs'`)
	}
	return b
}

func (b *tab) expects(complaint string) bool {
	for _, e := range b.expected {
		if strings.Contains(complaint, e) {
			return true
		}
	}
	return false
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.http.URL + path))
}

func (b *tab) click(css string) {
	b.t.Helper()
	ctx, end := context.WithTimeout(b.ctx, patience)
	defer end()
	for {
		err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(css)))
		if err == nil {
			return
		}
		// A page may put another element in its place after the browser found this one.
		if !strings.Contains(err.Error(), "Could not find node") {
			b.t.Fatalf("click %s: %v", css, err)
		}
	}
}

// press presses a key that is a command, and so brings no character into a field.
func (b *tab) press(key string) {
	b.t.Helper()
	b.until("the script", `document.documentElement.dataset.keys === 'heard'`)
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyUp} {
		if _, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: key}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// value is what an expression of JavaScript is on the page.
func value[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true on the page. A page that is being left has none.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`!!(`+expression+`)`))
		switch {
		case err == nil && is:
			return
		case b.ctx.Err() != nil || time.Now().After(deadline):
			text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + '\n' + document.body.innerText.slice(0, 3000)`))
			b.t.Fatalf("waited in vain for %s (%v): %s", what, err, text)
		}
		time.Sleep(50 * time.Millisecond) // there is no event for what is waited for
	}
}

// theme sets what the browser prefers.
func (b *tab) theme(name string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// shoot keeps a picture of the whole page where the flag says.
func (b *tab) shoot(name string) {
	b.t.Helper()
	raw, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if c, err := png.DecodeConfig(bytes.NewReader(raw)); err != nil || c.Height < 100 {
		b.t.Errorf("the picture %s: %v %v", name, c, err)
	}
	if *screenshots == "" {
		return
	}
	err = os.MkdirAll(*screenshots, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(*screenshots, name+".png"), raw, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
