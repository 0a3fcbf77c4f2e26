package imagegc

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
	"sync"
	"time"
)

// Uses remembers, in a directory of its own, which names the farm brought to this
// host and when they were last used. Nothing in it has to survive a crash of the
// machine: an image without an entry is not the farm's to remove.
type Uses struct {
	dir    string
	normal func(ref string) string
	mu     sync.Mutex // makes a change of an entry whole
}

// NewUses keeps the uses in dir, which is made with the first. normal makes one
// name of all those that an engine takes for the same.
func NewUses(dir string, normal func(ref string) string) *Uses {
	return &Uses{dir: dir, normal: normal}
}

// use is an entry.
type use struct {
	Name string `json:"name"`
	// Image is the ID of what was pulled, "" until the pull has ended.
	Image string `json:"image,omitempty"`
	// Job is what built it, "" when it was pulled.
	Job  string    `json:"job,omitempty"`
	Last time.Time `json:"last"`
}

func (u *Uses) path(name string) string {
	sum := sha256.Sum256([]byte(u.normal(name)))
	return filepath.Join(u.dir, hex.EncodeToString(sum[:])+".json")
}

// find returns the entry of a name; false means that there is none.
func (u *Uses) find(name string) (use, bool, error) {
	text, err := os.ReadFile(u.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return use{}, false, nil
	}
	var e use
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		return use{}, false, fmt.Errorf("read the use of image %s: %w", name, err)
	}
	return e, true, nil
}

// put writes an entry, whole or not at all.
func (u *Uses) put(e use) error {
	e.Name, e.Last = u.normal(e.Name), time.Now()
	text, err := json.Marshal(e)
	if err == nil {
		err = os.MkdirAll(u.dir, 0o700)
	}
	temp := u.path(e.Name) + ".new"
	if err == nil {
		err = os.WriteFile(temp, text, 0o600)
	}
	if err == nil {
		err = os.Rename(temp, u.path(e.Name))
	}
	if err != nil {
		return fmt.Errorf("note the use of image %s: %w", e.Name, err)
	}
	return nil
}

// set writes an entry.
func (u *Uses) set(e use) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.put(e)
}

// touch notes a use of a name, if it has an entry.
func (u *Uses) touch(name string) (e use, known bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	e, known, err = u.find(name)
	if err == nil && known {
		err = u.put(e)
	}
	return e, known, err
}

// forget removes an entry once do has removed what it stands for. An entry that was
// used after it was read stays, with all; who uses it now waits until it is decided.
func (u *Uses) forget(old use, do func() error) (gone bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, known, err := u.find(old.Name)
	if err != nil || !known || !now.Last.Equal(old.Last) {
		return false, err
	}
	if err := do(); err != nil {
		return false, err
	}
	if err := os.Remove(u.path(old.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("forget the use of image %s: %w", old.Name, err)
	}
	return true, nil
}

// drop removes the entry of a name that is not there.
func (u *Uses) drop(name string) error {
	e, known, err := u.find(name)
	if err == nil && known {
		_, err = u.forget(e, func() error { return nil })
	}
	return err
}

// list returns every entry that can be read; one that cannot is in nobody's way.
func (u *Uses) list() ([]use, error) {
	files, err := os.ReadDir(u.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list the uses of images: %w", err)
	}
	var all []use
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(u.dir, f.Name()))
		var e use
		if err == nil && json.Unmarshal(text, &e) == nil && e.Name != "" {
			all = append(all, e)
		}
	}
	return all, nil
}
