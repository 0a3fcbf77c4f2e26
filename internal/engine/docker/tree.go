package docker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/tree"
)

// treeSource is the source of a tree. It has not the name that frontends have for the
// context: one that knows nothing of inputs would ask for that, and leave files out by
// .dockerignore.
const treeSource = "slipway-context"

// treeContext has a build use the files of a tree as its context. The daemon keeps what it
// was sent under the key of a recipe, and asks for files that have another size or time than
// there. The times that it is told stand for contents, and a directory in its keeping has the
// time of the last change in it: the copy has the real time.
func treeContext(opt *client.SolveOpt, t tree.Tree, recipe string) {
	key, at := sha256.Sum256([]byte(recipe)), t.Time()
	kept := llb.Local(treeSource, llb.SharedKeyHint(hex.EncodeToString(key[:])), llb.WithCustomName("[internal] load build context"))
	files := llb.Scratch().File(llb.Copy(kept, "/", "/", &llb.CopyInfo{CopyDirContentsOnly: true, CreatedTime: &at}),
		llb.WithCustomName("[internal] lay out build context"))
	if opt.FrontendInputs == nil {
		opt.FrontendInputs = map[string]llb.State{}
	}
	opt.FrontendInputs["context"] = files
}

// sources serves what a build reads file by file.
type sources struct {
	tree tree.Tree // may be nil
	// key is of the times that stand for contents, see timeOf.
	key []byte
	// others are all but the tree.
	others filesync.StaticDirSource

	mu    sync.Mutex
	total engine.Sent
	broke error // of the tree
}

var _ session.Attachable = (*sources)(nil)

// Register implements session.Attachable.
func (s *sources) Register(server *grpc.Server) { filesync.RegisterFileSyncServer(server, s) }

// DiffCopy implements filesync.FileSyncServer.
func (s *sources) DiffCopy(stream filesync.FileSync_DiffCopyServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if name := md.Get("dir-name"); len(name) != 1 || name[0] != treeSource || s.tree == nil {
		return filesync.NewFSSyncProvider(s.others).(filesync.FileSyncServer).DiffCopy(stream)
	}
	y := newSyncing(stream, s.tree, s.key)
	err := y.run(stream.Context())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Files += y.sent.Files
	s.total.Bytes += y.sent.Bytes
	if s.broke == nil {
		s.broke = y.broke
	}
	return err
}

// result is what the daemon was sent of the tree, and the error of the build: the tree's own,
// if it has one.
func (s *sources) result(err error) (engine.Sent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Tree = s.tree != nil
	if s.broke != nil {
		err = &treeError{s.broke}
	}
	return s.total, err
}

// treeError is an error of a tree, whatever the daemon made of it.
type treeError struct{ err error }

func (e *treeError) Error() string { return e.err.Error() }

// TarStream implements filesync.FileSyncServer; no BuildKit asks for it.
func (s *sources) TarStream(filesync.FileSync_TarStreamServer) error {
	return grpcstatus.Error(codes.Unimplemented, "there are no archives here")
}

// ignoredInputs tells whether a build failed because its frontend knows no other context than
// an archive or a directory of the client's.
func ignoredInputs(err error) bool {
	failed, ok := errors.AsType[*solveError](err)
	return ok && (strings.Contains(failed.Error(), "moby.buildkit.frontend.inputs") || strings.Contains(failed.Error(), `no access allowed to dir "context"`))
}

// timeOf is a time that stands for a content, in nanoseconds since 1970. BuildKit keeps what
// the build before has sent under the same name, and takes a file of the same size and time
// for the same file: it would build from a file of another job. Without the key, which no job
// ever sees, no content can be made that has the time of another one.
func timeOf(key []byte, content [sha256.Size]byte) int64 {
	mac := hmac.New(sha256.New, key)
	mac.Write(content[:])
	const from, years = int64(946684800e9), 1 << 59 // from 2000 on, 18 years: what all file systems have
	return from + int64(binary.BigEndian.Uint64(mac.Sum(nil))%years)
}
