package hosttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// call does one request of the Docker API. The rig speaks it by hand, so that
// it does not stand on the client it helps to test. A nil into drops the body.
func (h *Host) call(ctx context.Context, method, path string, body io.Reader, into any) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", h.Socket())
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

func (h *Host) ping(ctx context.Context) error {
	return h.call(ctx, http.MethodGet, "/_ping", nil, nil)
}

// removeContainers ends and removes every container of the host.
func (h *Host) removeContainers(ctx context.Context) error {
	var all []struct{ ID string }
	if err := h.call(ctx, http.MethodGet, "/containers/json?all=1", nil, &all); err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, h.call(ctx, http.MethodDelete, "/containers/"+c.ID+"?force=1&v=1", nil, nil))
	}
	return errors.Join(errs...)
}

// importImage makes an image of one layer from a tar. changes are Dockerfile
// instructions such as CMD ["sh"].
func (h *Host) importImage(ctx context.Context, repo, tag string, layer io.Reader, changes ...string) error {
	q := url.Values{"fromSrc": {"-"}, "repo": {repo}, "tag": {tag}, "changes": changes}
	var last struct{ Error string }
	if err := h.call(ctx, http.MethodPost, "/images/create?"+q.Encode(), layer, &last); err != nil {
		return err
	}
	if last.Error != "" {
		return fmt.Errorf("import image %s:%s: %s", repo, tag, last.Error)
	}
	return nil
}
