package jobs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// ErrNoRecipe says that no job of this name has built an image yet, or the recipe was
// removed.
var ErrNoRecipe = errors.New("no such recipe")

// Recipe is how the image of a name is built: what the job of that name whose build
// succeeded last asked for, and what came of it. It outlives the record of the job, so
// that the image can be built again when what it stands on has changed.
type Recipe struct {
	Name string `json:"name"`
	// Job is the job that the recipe was learned from, Made when it had built and pushed
	// its image, on Redis time: a job may run for hours after that.
	Job  string    `json:"job"`
	Made time.Time `json:"made"`
	// Spec is the document of the job.
	Spec Spec `json:"spec"`
	// Context is the digest of the archive that the build read.
	Context string `json:"context,omitempty"`
	// ImageID, Tags, RepoDigests, Host and Engine are those of the job's result.
	ImageID     string   `json:"image_id"`
	Tags        []string `json:"tags,omitempty"`
	RepoDigests []string `json:"repo_digests,omitempty"`
	Host        string   `json:"host,omitempty"`
	Engine      string   `json:"engine,omitempty"`
	// Materials are the images that the build used.
	Materials []BaseImage `json:"materials,omitempty"`
	// Took is how long the build took.
	Took Duration `json:"took,omitempty"`
	// Settings are the operator's. They stay when the recipe is learned anew.
	Settings RecipeSettings `json:"settings"`
	// Previous is the recipe before a rebuild moved the tags to its image, nil when no
	// rebuild did. It has no Previous of its own, and no Settings.
	Previous *Recipe `json:"previous,omitempty"`
	// Damaged says why the recipe cannot be read, "" when it can. Name is right all the
	// same.
	Damaged string `json:"damaged,omitempty"`
}

// RecipeOf is the recipe that a job leaves. ok is false when it leaves none: it has no
// name, it built nothing, or its image did not come to all places where it was to go.
func RecipeOf(j Job) (r Recipe, ok bool) {
	res := j.Result
	if j.Spec.Name == "" || j.Spec.Build == nil || res == nil || res.ImageID == "" {
		return Recipe{}, false
	}
	if f := res.Failure; f != nil && f.Stage != StageRun && f.Stage != StageCollect {
		return Recipe{}, false
	}
	r = Recipe{
		Name: j.Spec.Name, Job: j.ID, Made: madeAt(j), Spec: j.Spec, Context: res.Context,
		ImageID: res.ImageID, Tags: res.Tags, RepoDigests: res.RepoDigests, Host: res.Host, Engine: res.Engine,
		Materials: res.Bases,
	}
	if c := j.Spec.Context; c != nil && r.Context == "" {
		r.Context = c.Digest
		if digest, found := strings.CutPrefix(c.Ref, "cas:"); found {
			r.Context = digest
		}
	}
	for _, t := range res.Times {
		if t.Stage == StageBuild {
			r.Took = Duration(time.Duration(t.Millis) * time.Millisecond)
		}
	}
	return r, true
}

// Rebuilt is the recipe after a job of a rebuild has built its image: the job's document is
// that of r, changed for the rebuild, and says which context its digest is of. ok is false
// when the job leaves no recipe.
func (r Recipe) Rebuilt(j Job) (next Recipe, ok bool) {
	next, ok = RecipeOf(j)
	next.Spec = r.Spec
	next.Spec.Context = j.Spec.Context
	return next, ok
}

// madeAt is when the last attempt had its image: its stages up to then began with the
// claim.
func madeAt(j Job) time.Time {
	if j.Claimed.IsZero() {
		return j.Finished
	}
	at := j.Claimed
	for _, t := range j.Result.Times {
		if t.Stage == StageFetch || t.Stage == StageBuild || t.Stage == StagePush {
			at = at.Add(time.Duration(t.Millis) * time.Millisecond)
		}
	}
	return at
}

// RebuildPolicy says what happens to an image when what it stands on has changed.
type RebuildPolicy string

// The policies.
const (
	RebuildManual RebuildPolicy = "manual" // a person decides; the default
	RebuildAuto   RebuildPolicy = "auto"   // the farm builds it again
	RebuildNever  RebuildPolicy = "never"  // no plan has it
)

// RebuildPolicies lists every policy.
func RebuildPolicies() []RebuildPolicy {
	return []RebuildPolicy{RebuildManual, RebuildAuto, RebuildNever}
}

// RecipeSettings are what an operator decides about a recipe. The zero value is the
// default.
type RecipeSettings struct {
	// Policy is RebuildManual when "".
	Policy RebuildPolicy `json:"policy,omitempty"`
	// MaxAge makes the image stale although nothing that it stands on has changed, 0 for
	// never: packages that its steps install may have.
	MaxAge Duration `json:"max_age,omitempty"`
	// Source is the reference that each rebuild fetches its context from anew. nil is the
	// same context again.
	Source *Context `json:"source,omitempty"`
}

// Validate reports everything wrong with the settings, as a [*Invalid].
func (s RecipeSettings) Validate() error {
	var p problems
	if s.Policy != "" && !slices.Contains(RebuildPolicies(), s.Policy) {
		p.add("policy_invalid", "/policy", "unknown policy %q: want %s", Clip(string(s.Policy)), Either(RebuildPolicies()))
	}
	if s.MaxAge < 0 {
		p.add("max_age_invalid", "/max_age", "found %s; want 0 (no limit) or more", s.MaxAge)
	}
	if s.Source != nil {
		p.context(*s.Source)
		if s.Source.Digest != "" || strings.HasPrefix(s.Source.Ref, "cas:") {
			p.add("source_fixed", "/source", "found %q, which has the same content each time; leave the source out for the same context again", Clip(s.Source.Ref))
		}
	}
	return p.err()
}

// Recipes keeps how named images are built. All methods are safe for concurrent use.
type Recipes interface {
	// Learn keeps a recipe, but for its settings, unless it has one that was made later,
	// and reports whether it kept it. Learning a recipe again changes nothing.
	Learn(ctx context.Context, r Recipe) (bool, error)
	// Recipe returns the recipe of a name, or ErrNoRecipe.
	Recipe(ctx context.Context, name string) (Recipe, error)
	// AllRecipes lists the recipes by name. One that cannot be read has Damaged.
	AllRecipes(ctx context.Context) ([]Recipe, error)
	// SetRecipe changes the settings of a recipe, or returns ErrNoRecipe, or the error of
	// change. It calls change again when another caller was faster.
	SetRecipe(ctx context.Context, name string, change func(*RecipeSettings) error) error
	// ReplaceRecipe puts a recipe, but for its settings, in the place of that of its name if
	// this is a job's still. Otherwise it changes nothing.
	ReplaceRecipe(ctx context.Context, job string, r Recipe) error
	// RemoveRecipe forgets a recipe with its settings, or returns ErrNoRecipe. The next
	// job of that name leaves a new one.
	RemoveRecipe(ctx context.Context, name string) error
}
