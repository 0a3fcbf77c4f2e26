package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file that pages load. Its address has a part of its hash, so that browsers may
// keep it for ever.
type asset struct {
	address, media string
	content        []byte
}

// media are the types of what is served; other files of the folder are not.
func media(name string) string {
	return map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(name)]
}

func readAssets() (map[string]asset, error) {
	all := map[string]asset{}
	add := func(name string, content []byte) {
		sum := sha256.Sum256(content)
		all[name] = asset{"/assets/" + hex.EncodeToString(sum[:6]) + "/" + name, media(name), content}
	}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, fmt.Errorf("list the assets: %w", err)
	}
	for _, e := range entries {
		if media(e.Name()) == "" {
			continue
		}
		content, err := fs.ReadFile(assetFiles, "assets/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("read an asset: %w", err)
		}
		add(e.Name(), content)
	}
	add("palette.css", palette())
	return all, nil
}

// palette is the style of the colours from 16 on, which are the same in every terminal: a
// cube, and greys. The first 16 are in style.css, since they go with the theme.
func palette() []byte {
	var b bytes.Buffer
	level := func(i int) int { return []int{0, 95, 135, 175, 215, 255}[i] }
	colour := func(n, r, g, bl int) {
		fmt.Fprintf(&b, ".f%d{color:#%02x%02x%02x}.b%d{background:#%02x%02x%02x}\n", n, r, g, bl, n, r, g, bl)
	}
	for i := range 216 {
		colour(16+i, level(i/36), level(i/6%6), level(i%6))
	}
	for i := range 24 {
		colour(232+i, 8+10*i, 8+10*i, 8+10*i)
	}
	return b.Bytes()
}

// asset answers GET /assets/{version}/{name}. A page of another version of the program asks
// for another version, and gets this one for once.
func (p *Pages) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := p.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.media)
	if a.address == r.URL.Path {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(a.content) // the browser sees that it is cut off
}
