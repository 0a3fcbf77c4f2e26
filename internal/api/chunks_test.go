package api

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
)

// bundled is the blob of large content and its bundle.
func bundled(t *testing.T) (artifacts.Blob, []byte) {
	t.Helper()
	content := make([]byte, 17<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	store := artifactstest.NewStore()
	far := &artifactstest.Far{Store: store, To: artifacts.NewBlobs(store, t.TempDir())}
	blobs := artifacts.NewBlobs(far, t.TempDir())
	c, err := blobs.Cut(t.TempDir(), artifacts.Known{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = io.Copy(c, bytes.NewReader(content))
	blob := artifacts.Blob{Digest: artifactstest.Digest(content), Size: int64(len(content))}
	if err == nil {
		_, err = blobs.Keep(t.Context(), blob, c, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return blob, far.Bundle()
}

func TestContextsInChunks(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	blob, bundle := bundled(t)
	path := "/v1/contexts/" + blob.Digest + "/chunks"
	head, chunks, _ := bytes.Cut(bundle, []byte("\n\n"))
	put := func(path string, body []byte) reply {
		return f.send(request{method: "PUT", path: path, as: "submitter", body: bytes.NewReader(body), header: http.Header{"Content-Type": {zstdMedia}}})
	}
	f.send(request{method: "GET", path: path, as: "submitter"}).want(t, http.StatusNotFound).problem(t, "not_found")
	none := []byte(strings.ReplaceAll(string(head), " +", "") + "\n\n")
	put(path, none).want(t, http.StatusConflict).problem(t, "chunks_lacking")
	put(path, bundle[:len(bundle)-9]).want(t, http.StatusBadRequest).problem(t, "body_invalid")
	put("/v1/contexts/sha256:"+zeros+"/chunks", bundle).want(t, http.StatusUnprocessableEntity).problem(t, "context_digest_mismatch")
	put("/v1/contexts/md5:x/chunks", bundle).want(t, http.StatusNotFound).problem(t, "not_found")
	if has, err := f.blobs.Has(t.Context(), blob.Digest); has || err != nil {
		t.Fatalf("Has = %t, %v after bundles that were refused", has, err)
	}
	// The chunks have come by now, with a bundle that was none.
	made := into[stored](t, put(path, none).want(t, http.StatusCreated))
	if made.Digest != blob.Digest || made.Size != blob.Size {
		t.Errorf("the context is %+v, want %+v", made, blob)
	}
	f.send(request{method: "HEAD", path: "/v1/contexts/" + blob.Digest, as: "submitter"}).want(t, http.StatusOK)
	f.send(request{method: "GET", path: path, as: "submitter"}).want(t, http.StatusOK)
	if len(chunks) < 17<<20 {
		t.Errorf("the chunks have %d bytes", len(chunks))
	}

	lacking := func(digests ...string) reply {
		raw, err := json.Marshal(map[string]any{"digests": digests})
		if err != nil {
			t.Fatal(err)
		}
		return f.send(request{method: "POST", path: "/v1/chunks/lacking", as: "submitter", body: bytes.NewReader(raw), header: http.Header{"Content-Type": {"application/json"}}})
	}
	there := "sha256:" + strings.Fields(strings.Split(string(head), "\n")[1])[0]
	if got := into[lackingChunks](t, lacking(there, "sha256:"+zeros, there).want(t, http.StatusOK)); len(got.Lacks) != 1 || got.Lacks[0] != "sha256:"+zeros {
		t.Errorf("the store lacks %q, want %q", got.Lacks, zeros)
	}
	if got := into[lackingChunks](t, lacking().want(t, http.StatusOK)); got.Lacks == nil {
		t.Error("the store lacks null, want an empty list")
	}
	lacking("../x").want(t, http.StatusBadRequest).problem(t, "parameter_invalid")
}
