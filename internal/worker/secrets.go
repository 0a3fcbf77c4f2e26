package worker

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/mask"
	"github.com/slipway-farm/slipway/internal/secretfiles"
)

// secret reads a secret of the worker. Names are validated with the document,
// so they cannot leave the directory.
func (w *Worker) secret(name string) ([]byte, error) {
	missing := func(err error) error {
		return jobs.Fail(jobs.KindSecretNotFound, err, "ask the operator to add it to the worker", "the worker has no secret named %q", name)
	}
	if w.opts.SecretsDir == "" {
		return nil, missing(nil)
	}
	b, err := os.ReadFile(filepath.Join(w.opts.SecretsDir, filepath.Base(name)))
	if err == nil {
		return b, nil
	}
	// Only a name that is not in a directory that is there is the job's mistake.
	if _, absent := os.Stat(w.opts.SecretsDir); absent != nil || !errors.Is(err, fs.ErrNotExist) {
		return nil, jobs.Fail(jobs.KindSecretsFailed, err, "ask the operator to look at the worker's --secrets", "the worker cannot read its secrets")
	}
	return nil, missing(err)
}

// sshKeys is the directory of private keys in that of the secrets, where no name of a
// secret leads.
const sshKeys = "ssh"

// sshKey is the path of a private key of the worker.
func (w *Worker) sshKey(name string) (string, error) {
	path := filepath.Join(w.opts.SecretsDir, sshKeys, filepath.Base(name))
	_, err := os.Stat(path)
	if w.opts.SecretsDir == "" || errors.Is(err, fs.ErrNotExist) {
		return "", jobs.Fail(jobs.KindSecretNotFound, err, "ask the operator to add it to the worker", "the worker has no SSH key named %q", name)
	} else if err != nil {
		return "", jobs.Fail(jobs.KindSecretsFailed, err, "ask the operator to look at the worker's --secrets", "the worker cannot read its SSH keys")
	}
	return path, nil
}

// secretFiles are those of the containers of a host on this machine.
func (w *Worker) secretFiles(host string) secretfiles.Dir {
	return secretfiles.At(filepath.Join(w.opts.RuntimeDir, filepath.Base(host)))
}

// secretsOf are all that a job may use, those of its build first. Its keys for SSH are not among
// them: no step sees one.
func secretsOf(s jobs.Spec) (build, run []jobs.Secret) {
	if s.Build != nil {
		build = s.Build.Secrets
	}
	if s.Run != nil {
		run = s.Run.Secrets
	}
	return build, run
}

// readSecrets reads what the job may use, and covers it in the job's log. The values are
// those of this moment: one that the operator replaces meanwhile is covered, too.
func (a *attempt) readSecrets() error {
	build, run := secretsOf(a.job.Spec)
	a.secrets = map[string][]byte{}
	read := func(stage jobs.Stage, all []jobs.Secret) error {
		for _, s := range all {
			value, err := a.w.secret(s.SecretName())
			if err != nil {
				return staged(stage, jobs.AsFailure(err))
			}
			a.secrets[s.SecretName()] = value
		}
		return nil
	}
	if err := read(jobs.StageBuild, build); err != nil {
		return err
	}
	if err := read(jobs.StageRun, run); err != nil {
		return err
	}
	var values [][]byte
	for _, value := range a.secrets {
		values = append(values, value)
	}
	a.cover(mask.Of(values...))
	return nil
}

// cover covers secrets in what the job prints from now on.
func (a *attempt) cover(v mask.Values) {
	a.covered = v
	a.joblog.Mask(v)
}

// secret is what the job's build reads.
func (a *attempt) secret(name string) ([]byte, error) {
	if value, ok := a.secrets[name]; ok {
		return value, nil
	}
	return a.w.secret(name)
}

// coverOf is what to cover in the log of a job that an earlier process began: what its
// container was given, and what the worker has under the names now. A value that was
// replaced while a build used it is lost; that process and its build are gone.
func (w *Worker) coverOf(ctx context.Context, job jobs.Job, host string, attempt int) mask.Values {
	build, run := secretsOf(job.Spec)
	if len(build)+len(run) == 0 {
		return mask.Values{}
	}
	values, err := w.secretFiles(host).Values(jobs.ContainerName(job.ID, attempt))
	for _, s := range append(build[:len(build):len(build)], run...) {
		value, failed := w.secret(s.SecretName())
		err = errors.Join(err, failed)
		values = append(values, value)
	}
	if err != nil {
		w.log.WarnContext(ctx, "reading the secrets of an earlier worker's job failed; they may be in its log", "job_id", job.ID, "err", err)
	}
	return mask.Of(values...)
}

// placeSecrets gives the container the files of run.secrets, and returns their directory, ""
// when there are none.
func (a *attempt) placeSecrets() (dir string, err error) {
	_, run := secretsOf(a.job.Spec)
	if len(run) == 0 {
		return "", nil
	}
	files := map[string][]byte{}
	for _, s := range run {
		if files[s.ID], err = a.secret(s.SecretName()); err != nil {
			return "", err
		}
	}
	dir, err = a.w.secretFiles(a.w.opts.HostID).Put(jobs.ContainerName(a.job.ID, a.job.Attempt), files)
	if err != nil {
		return "", jobs.Fail(jobs.KindSecretsFailed, err, "ask the operator to look at the worker's --runtime-dir", "the worker has no place in memory for the job's secrets")
	}
	return dir, nil
}

// emptySecrets removes the files once the container has ended: no output leads to them.
func (a *attempt) emptySecrets(ctx context.Context) {
	a.forgetSecrets(ctx, a.w.secretFiles(a.w.opts.HostID).Empty)
}

// removeSecrets removes what is left when the container is gone.
func (a *attempt) removeSecrets(ctx context.Context) {
	a.forgetSecrets(ctx, a.w.secretFiles(a.w.opts.HostID).Remove)
}

func (a *attempt) forgetSecrets(ctx context.Context, forget func(container string) error) {
	if _, run := secretsOf(a.job.Spec); len(run) == 0 {
		return
	}
	if err := forget(jobs.ContainerName(a.job.ID, a.job.Attempt)); err != nil {
		a.log.WarnContext(ctx, "removing a container's secrets failed; it is tried again later", "err", err)
	}
}
