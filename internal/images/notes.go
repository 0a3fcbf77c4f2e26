package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/atomicfile"
	"github.com/slipway-farm/slipway/internal/engine"
)

// Notes remember, in a directory of their own, which names the farm brought to this
// host, and when they were last used. They need not survive a crash of the machine:
// an image without a note is not the farm's to remove or to rename.
//
// Workers that share a daemon share a directory of notes. Else what one of them named
// would be the operator's to the other.
type Notes struct {
	dir    string
	normal func(ref string) string
	naming fileLock // held while a name is given away or taken
	change fileLock // makes a change of a note whole
}

// NewNotes keeps the notes in dir, which is made with the first. normal makes one
// name of all those that an engine takes for the same.
func NewNotes(dir string, normal func(ref string) string) *Notes {
	return &Notes{
		dir: dir, normal: normal,
		naming: newFileLock(filepath.Join(dir, "naming.lock")), change: newFileLock(filepath.Join(dir, "change.lock")),
	}
}

// Note is about one name, or about an image that has none.
type Note struct {
	// Name is the ID of an image that lost its last name while it was used.
	Name string `json:"name"`
	// Image is the ID of what has the name, "" until a pull has ended.
	Image string `json:"image,omitempty"`
	// Before is what had the name before, while it is about to be given to Image.
	Before string `json:"before,omitempty"`
	// Job is what built it, "" when it was pulled; Recipe is that job's name.
	Job    string `json:"job,omitempty"`
	Recipe string `json:"recipe,omitempty"`
	// Pushed is true when the registry has it under this name, too.
	Pushed bool      `json:"pushed,omitempty"`
	Last   time.Time `json:"last"`
}

// of reports whether the note is about what has the name now.
func (n Note) of(now engine.ImageFacts) bool {
	return now.ID != "" && (now.ID == n.Image || now.ID == n.Before)
}

func (n *Notes) path(name string) string {
	sum := sha256.Sum256([]byte(n.normal(name)))
	return filepath.Join(n.dir, hex.EncodeToString(sum[:])+".json")
}

// find returns the note on a name; false means that there is none.
func (n *Notes) find(name string) (Note, bool, error) {
	text, err := os.ReadFile(n.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Note{}, false, nil
	}
	var e Note
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		return Note{}, false, fmt.Errorf("read the note on image %s: %w", name, err)
	}
	return e, true, nil
}

// put writes a note, whole or not at all.
func (n *Notes) put(e Note) error {
	e.Name, e.Last = n.normal(e.Name), time.Now()
	if err := n.write(n.path(e.Name), e); err != nil {
		return fmt.Errorf("note image %s: %w", e.Name, err)
	}
	return nil
}

// write writes a file of the notes as JSON.
func (n *Notes) write(path string, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		err = os.MkdirAll(n.dir, 0o700)
	}
	if err == nil {
		err = atomicfile.Write(path, text)
	}
	return err
}

// set writes a note.
func (n *Notes) set(e Note) error {
	unlock, err := n.change.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return n.put(e)
}

// touch notes a use of a name, if it has a note.
func (n *Notes) touch(name string) (e Note, known bool, err error) {
	unlock, err := n.change.lock()
	if err != nil {
		return Note{}, false, err
	}
	defer unlock()
	e, known, err = n.find(name)
	if err == nil && known {
		err = n.put(e)
	}
	return e, known, err
}

// forget removes a note once do has removed what it stands for. An entry that was
// used after it was read stays, with all; who uses it now waits until it is decided.
func (n *Notes) forget(old Note, do func() error) (gone bool, err error) {
	unlock, err := n.change.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	now, known, err := n.find(old.Name)
	if err != nil || !known || !now.Last.Equal(old.Last) {
		return false, err
	}
	if err := do(); err != nil {
		return false, err
	}
	if err := os.Remove(n.path(old.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("forget image %s: %w", old.Name, err)
	}
	return true, nil
}

// drop removes the note on a name that is not there.
func (n *Notes) drop(name string) error {
	e, known, err := n.find(name)
	if err == nil && known {
		_, err = n.forget(e, func() error { return nil })
	}
	return err
}

// list returns every note that can be read; one that cannot is left out.
func (n *Notes) list() ([]Note, error) {
	files, err := os.ReadDir(n.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list the notes on images: %w", err)
	}
	var all []Note
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(n.dir, f.Name()))
		var e Note
		if err == nil && json.Unmarshal(text, &e) == nil && e.Name != "" {
			all = append(all, e)
		}
	}
	return all, nil
}
