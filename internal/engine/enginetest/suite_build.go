package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/mask"
)

// Archive makes a plain tar of files given as name, content, name, content.
func Archive(t testing.TB, files ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i+1 < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func noSecrets(name string) ([]byte, error) { return nil, errors.New("no secret " + name) }

// build runs a build of one Dockerfile.
func (s *trial) build(ctx context.Context, dockerfile string, change func(*engine.Build)) (engine.Built, error) {
	b := engine.Build{
		Spec:    jobs.Build{Dockerfile: "Dockerfile", NoCache: true},
		Context: bytes.NewReader(Archive(s.t, "Dockerfile", dockerfile, "hello.txt", "hello\n")),
		Name:    s.image(),
		Images:  []engine.Image{{Ref: s.Image, Role: jobs.RoleFrom}},
		Secret:  noSecrets,
		SSHKey: func(name string) (string, error) {
			return "", jobs.Fail(jobs.KindSecretNotFound, nil, "ask the operator", "the worker has no SSH key named %q", name)
		},
	}
	if s.hidden {
		b.Dockerfile, b.Context = []byte(dockerfile), bytes.NewReader(Archive(s.t, "hello.txt", "hello\n"))
	}
	if change != nil {
		change(&b)
	}
	built, err := s.Engine.Build(ctx, b)
	if err == nil {
		s.t.Cleanup(func() {
			if err := s.Engine.RemoveImage(context.Background(), b.Name); err != nil {
				s.t.Errorf("remove image: %v", err)
			}
		})
	}
	return built, err
}

func testBuild(t *testing.T, s *trial) {
	var steps []string
	var output bytes.Buffer
	// BuildKit does what two builds want at once for one of them only.
	greeting := "from the build of " + s.job()
	built, err := s.build(s.ctx, "FROM "+s.Image+"\nRUN echo "+greeting+"\nCMD [\"sh\", \"-c\", \"echo from the image; exit 3\"]\n", func(b *engine.Build) {
		b.Status = func(raw []byte) {
			var m struct {
				Vertexes []struct{ Name string }
				Logs     []struct{ Data []byte }
			}
			if err := json.Unmarshal(raw, &m); err != nil {
				t.Errorf("status %s: %v", raw, err)
			}
			for _, v := range m.Vertexes {
				steps = append(steps, v.Name)
			}
			for _, l := range m.Logs {
				output.Write(l.Data)
			}
		}
	})
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	if !jobs.IsDigest(built.ImageID) {
		t.Errorf("image ID = %q", built.ImageID)
	}
	local, err := s.Engine.Image(s.ctx, s.Image, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]jobs.BaseImage{{Ref: s.Image, Role: jobs.RoleFrom, Digest: local, Local: true}}, built.Bases); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	if !strings.Contains(strings.Join(steps, "\n"), "RUN echo "+greeting) || output.String() != greeting+"\n" {
		t.Errorf("status told the steps %q and the output %q", steps, output.String())
	}
	s.Image = built.ImageID
	p, rec := s.start(s.create(jobs.Run{}))
	if st := s.wait(p); st.ExitCode != 3 || rec.stdout() != "from the image\n" {
		t.Errorf("the image's command ended with %d and said %q", st.ExitCode, rec.stdout())
	}
}

// A Dockerfile that is not part of the context is built from, and COPY does not
// see it.
func testBuildHidden(t *testing.T, s *trial) {
	s.hidden = true
	t.Run("build", func(t *testing.T) { testBuild(t, s.in(t)) })
	t.Run("fails", func(t *testing.T) { testBuildFails(t, s.in(t)) })
	t.Run("bad context", func(t *testing.T) { testBuildBadContext(t, s.in(t)) })
	t.Run("cancelled", func(t *testing.T) { testBuildCancelled(t, s.in(t)) })
	t.Run("secret", func(t *testing.T) { testBuildSecret(t, s.in(t)) })
}

// An image has the name of its build, and those that it is given. It goes with the
// last.
func testImages(t *testing.T, s *trial) {
	built, err := s.build(s.ctx, "FROM "+s.Image+"\nRUN echo named\n", nil)
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	repository := "suite-images"
	one, two := repository+":one", repository+":two"
	names := func() (all []string) {
		t.Helper()
		found, err := s.Engine.Images(s.ctx, repository)
		if err != nil {
			t.Fatalf("images: %v", err)
		}
		for _, img := range found {
			if img.ID != built.ImageID {
				t.Errorf("%s names the image %s, want %s", img.Name, img.ID, built.ImageID)
			}
			all = append(all, img.Name)
		}
		slices.Sort(all)
		return all
	}
	for _, name := range []string{one, two, two} {
		if err := s.Engine.Tag(s.ctx, built.ImageID, name); err != nil {
			t.Fatalf("tag: %v", err)
		}
	}
	if got := names(); !slices.Equal(got, []string{one, two}) {
		t.Errorf("names = %q, want both", got)
	}
	for _, ref := range []string{s.image(), two, two} {
		if err := s.Engine.RemoveImage(s.ctx, ref); err != nil {
			t.Errorf("remove image %s: %v", ref, err)
		}
	}
	if got := names(); !slices.Equal(got, []string{one}) {
		t.Errorf("names = %q, want %q: it has another name still", got, one)
	}
	if err := s.Engine.RemoveImage(s.ctx, built.ImageID); err != nil {
		t.Errorf("remove by its ID an image that has a name: %v", err)
	}
	if got := names(); !slices.Equal(got, []string{one}) {
		t.Errorf("names = %q after a removal by ID, which takes no name; want %q", got, one)
	}
	if err := s.Engine.RemoveImage(s.ctx, one); err != nil {
		t.Errorf("remove image %s: %v", one, err)
	}
	if got := names(); len(got) != 0 {
		t.Errorf("names = %q after the last one was removed", got)
	}
	_, err = s.Engine.Create(s.ctx, engine.Container{Name: s.name(), Image: built.ImageID, Spec: jobs.Run{Network: "none"}, Labels: s.labels()})
	_ = s.wantKind("a container of the removed image", err, jobs.KindImageMissing)
}

// The same tree is the same image each time, whatever its build is called.
func testSameImage(t *testing.T, s *trial) {
	var first string
	for i := range 3 {
		built, err := s.build(s.ctx, "FROM "+s.Image+"\nRUN echo same\n", func(b *engine.Build) {
			b.Spec.NoCache = false
			b.Name += fmt.Sprint("-", i)
		})
		switch {
		case err != nil:
			t.Fatalf("build: %v", err)
		case first == "":
			first = built.ImageID
		case built.ImageID != first:
			t.Errorf("build %d made image %s, the first one %s", i, built.ImageID, first)
		}
	}
}

func testBuildFails(t *testing.T, s *trial) {
	from := "FROM " + s.Image + "\n"
	for _, tt := range []struct {
		name       string
		dockerfile string
		spec       func(*jobs.Build)
		kind       jobs.Kind
		message    string // a part of it
		tail       []string
	}{
		{"step", from + "RUN echo first; echo second; exit 9\n", nil, jobs.KindBuildFailed, `step "RUN echo first; echo second; exit 9" ended with exit code 9`, []string{"first", "second"}},
		{"unknown instruction", from + "FROBNICATE x\n", nil, jobs.KindDockerfileInvalid, "line 2: unknown instruction: FROBNICATE", nil},
		{"no FROM", "RUN true\n", nil, jobs.KindDockerfileInvalid, "FROM", nil},
		{"missing Dockerfile", from, func(b *jobs.Build) { b.Dockerfile = "docker/other.Dockerfile" }, jobs.KindDockerfileMissing, "docker/other.Dockerfile", nil},
		{"missing base", "FROM " + s.Registry + "/no-such-image:1\n", nil, jobs.KindBaseMissing, "no-such-image:1", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if s.hidden && tt.kind == jobs.KindDockerfileMissing {
				return // there is always one
			}
			s := s.in(t)
			var status bytes.Buffer
			build := func() *jobs.Failure {
				status.Reset()
				_, err := s.build(s.ctx, tt.dockerfile, func(b *engine.Build) {
					if tt.spec != nil {
						tt.spec(&b.Spec)
					}
					b.Status = func(p []byte) { status.Write(append(p, '\n')) }
				})
				return s.wantKind("build", err, tt.kind)
			}
			f := build()
			if strings.Contains(f.Hint, "did not send") { // see docs/known-faults.md
				t.Logf("the engine dropped the end of the status; building again:\n%s", &status)
				f = build()
			}
			defer func() {
				if t.Failed() {
					t.Logf("cause: %s; what the engine sent:\n%s", f.Cause, &status)
				}
			}()
			if !strings.Contains(f.Message, tt.message) || strings.Contains(f.Message, "/var/lib") || f.Hint == "" {
				t.Errorf("message = %q, hint = %q; want %q in it", f.Message, f.Hint, tt.message)
			}
			if diff := cmp.Diff(tt.tail, f.Tail, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("tail (-want +got):\n%s", diff)
			}
		})
	}
}

func testBuildBadContext(t *testing.T, s *trial) {
	want := jobs.Fail(jobs.KindContextDigest, nil, "", "the archive is another one")
	archive := Archive(t, "Dockerfile", "FROM "+s.Image+"\n")
	for name, r := range map[string]io.Reader{
		"at once":      iotest.ErrReader(want),
		"half way":     io.MultiReader(bytes.NewReader(archive[:600]), iotest.ErrReader(want)),
		"after it all": io.MultiReader(bytes.NewReader(archive), iotest.ErrReader(want)),
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			_, err := s.build(s.ctx, "", func(b *engine.Build) { b.Context = r })
			if !errors.Is(err, want) {
				t.Errorf("build = %v, want the reader's error", err)
			}
		})
	}
}

func testBuildCancelled(t *testing.T, s *trial) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	_, err := s.build(ctx, "FROM "+s.Image+"\nRUN echo started; sleep 60\n", func(b *engine.Build) {
		b.Status = func(raw []byte) {
			var m struct{ Logs []struct{ Data []byte } }
			if json.Unmarshal(raw, &m) == nil && len(m.Logs) > 0 {
				cancel()
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("build = %v, want context.Canceled", err)
	}
}

// testBuildSecret: what the worker lacks is found before anything is built.
func testBuildSecret(t *testing.T, s *trial) {
	lacking := []jobs.Secret{{ID: "token", Name: "deploy-token"}}
	for _, spec := range []jobs.Build{{Secrets: lacking}, {SSH: lacking}} {
		read := false
		_, err := s.build(s.ctx, "FROM "+s.Image+"\n", func(b *engine.Build) {
			b.Spec.Secrets, b.Spec.SSH = spec.Secrets, spec.SSH
			b.Context = readerFunc(func([]byte) (int, error) {
				read = true
				return 0, io.EOF
			})
		})
		f := s.wantKind("build", err, jobs.KindSecretNotFound)
		if !strings.Contains(f.Message, "deploy-token") || read {
			t.Errorf("message = %q, context read = %v; want the name in it and nothing read", f.Message, read)
		}
	}
}

// testBuildCovers: what is to be covered is in no status and no failure, also where it is
// printed in pieces.
func testBuildCovers(t *testing.T, s *trial) {
	secret := "hunter22-" + s.job()
	half := len(secret) / 2
	var output, all bytes.Buffer
	_, err := s.build(s.ctx, fmt.Sprintf("FROM %s\nRUN echo of %s; echo -n %s; sleep 0.2; echo %s; exit 7\n", s.Image, secret, secret[:half], secret[half:]), func(b *engine.Build) {
		b.Mask = mask.Of([]byte(secret))
		b.Status = func(raw []byte) {
			all.Write(raw)
			var m struct{ Logs []struct{ Data []byte } }
			if err := json.Unmarshal(raw, &m); err != nil {
				t.Errorf("status %s: %v", raw, err)
			}
			for _, l := range m.Logs {
				output.Write(l.Data)
			}
		}
	})
	stars := strings.Repeat("*", len(secret))
	f := s.wantKind("build", err, jobs.KindBuildFailed)
	if want := "of " + stars + "\n" + stars + "\n"; output.String() != want || !strings.HasSuffix(strings.Join(f.Tail, "\n")+"\n", want) {
		t.Errorf("the output is %q, and the failure's end of it %q; want %q", output.String(), f.Tail, want)
	}
	if told := fmt.Sprint(all.String(), f.Message, f.Hint, f.Tail); strings.Contains(told, secret) {
		t.Errorf("the secret is in what was told: %s", told)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
