package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// hostsDoc is all hosts, and the farm's time to compare theirs with.
type hostsDoc struct {
	Hosts []jobs.KnownHost `json:"hosts"`
	Now   time.Time        `json:"now"`
}

// hosts answers GET /v1/hosts.
func (s *Server) hosts(x *exchange) error {
	list, now, err := jobs.KnownHosts(x.Context(), s.Hosts, s.Orders)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, hostsDoc{list, now})
}

// named is the host that the path names, by its identity or the name of its worker.
func (s *Server) named(x *exchange) (h jobs.KnownHost, err error) {
	list, _, err := jobs.KnownHosts(x.Context(), s.Hosts, s.Orders)
	if err != nil {
		return h, err
	}
	name := x.PathValue("host")
	switch found := jobs.HostsCalled(name, list); len(found) {
	case 1:
		return found[0], nil
	case 0:
		return h, problem("not_found", "no host is called %s", jobs.Clip(name)).hint("GET /v1/hosts lists the hosts")
	default:
		return h, problem("not_found", "%d hosts are called %s", len(found), jobs.Clip(name)).hint("give the identity of one instead")
	}
}

// host answers GET /v1/hosts/{host}.
func (s *Server) host(x *exchange) error {
	h, err := s.named(x)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, h)
}

// orderRequest is what an operator says of an order or a pause.
type orderRequest struct {
	Reason string `json:"reason"`
	// Timeout is how long a drain lets jobs go on before they are handed back, nil for as
	// long as they take.
	Timeout *jobs.Duration `json:"timeout"`
	// Priority is the part of a queue.
	Priority jobs.Priority `json:"priority"`
}

func (x *exchange) order() (req orderRequest, err error) {
	if err := x.document(&req); err != nil {
		return req, err
	}
	if len(req.Reason) > jobs.MaxReason {
		return req, problem("body_invalid", "reason: found %d bytes; want %d at most", len(req.Reason), jobs.MaxReason)
	}
	req.Reason = jobs.Line(req.Reason, jobs.MaxReason)
	if req.Timeout != nil && *req.Timeout < 0 {
		return req, problem("body_invalid", "timeout: found %s; want 0 or more", req.Timeout)
	}
	return req, nil
}

// drain answers POST /v1/hosts/{host}/drain, cordon that of /cordon.
func (s *Server) drain(x *exchange) error  { return s.giveOrder(x, jobs.OrderDrain) }
func (s *Server) cordon(x *exchange) error { return s.giveOrder(x, jobs.OrderCordon) }

func (s *Server) giveOrder(x *exchange, kind jobs.OrderKind) error {
	req, err := x.order()
	if err != nil {
		return err
	}
	if req.Timeout != nil && kind != jobs.OrderDrain {
		return problem("body_invalid", "timeout: only a drain ends what runs")
	}
	h, err := s.named(x)
	if err != nil {
		return err
	}
	o, err := s.Orders.Order(x.Context(), h.Name, jobs.HostOrder{Kind: kind, By: x.who.Name, Reason: req.Reason, Timeout: req.Timeout, Worker: h.Worker})
	if err != nil {
		return err
	}
	h.Order = &o
	return x.json(http.StatusOK, h)
}

// resumeHost answers POST /v1/hosts/{host}/resume. A host without an order stays as it is.
func (s *Server) resumeHost(x *exchange) error {
	h, err := s.named(x)
	if err != nil {
		return err
	}
	if _, err := s.Orders.Resume(x.Context(), h.Name); err != nil {
		return err
	}
	h.Order = nil
	return x.json(http.StatusOK, h)
}

// queuesDoc is what waits in queues, and what operators have said of them.
type queuesDoc struct {
	jobs.Load
	Paused  []jobs.Pause  `json:"paused"`
	Weights []jobs.Weight `json:"weights"`
}

// queues answers GET /v1/queues.
func (s *Server) queues(x *exchange) error {
	names := x.params["queue"]
	for _, q := range names {
		if !jobs.IsQueue(q) {
			return &ParameterError{Name: "queue", Message: jobs.Clip(q) + " is not the name of a queue"}
		}
	}
	load, _, err := s.Jobs.Load(x.Context(), s.Hosts, names...)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = load.Known()
	}
	paused, err := s.Jobs.Paused(x.Context(), names...)
	if err != nil {
		return err
	}
	weights, err := s.Jobs.Weights(x.Context(), names...)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, queuesDoc{load, append([]jobs.Pause{}, paused...), append([]jobs.Weight{}, weights...)})
}

// queueParts are the parts of the queue that the request names: of one priority, or all.
func (x *exchange) queueParts() (queue string, req orderRequest, priorities []jobs.Priority, err error) {
	if req, err = x.order(); err != nil {
		return "", req, nil, err
	}
	queue, priorities = x.PathValue("queue"), jobs.Priorities()
	if !jobs.IsQueue(queue) {
		return "", req, nil, problem("not_found", "%q is not the name of a queue: want lower-case letters, digits and -, at most 32", jobs.Clip(queue))
	}
	if req.Priority != "" {
		if !slices.Contains(priorities, req.Priority) {
			return "", req, nil, problem("body_invalid", "priority: found %q; want %s", jobs.Clip(string(req.Priority)), jobs.Either(priorities))
		}
		priorities = []jobs.Priority{req.Priority}
	}
	return queue, req, priorities, nil
}

// pause answers POST /v1/queues/{queue}/pause.
func (s *Server) pause(x *exchange) error {
	queue, req, parts, err := x.queueParts()
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := s.Jobs.SetPause(x.Context(), jobs.Pause{Queue: queue, Priority: p, By: x.who.Name, Reason: req.Reason}); err != nil {
			return err
		}
	}
	return s.pauses(x, queue)
}

// resumeQueue answers POST /v1/queues/{queue}/resume.
func (s *Server) resumeQueue(x *exchange) error {
	queue, _, parts, err := x.queueParts()
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := s.Jobs.EndPause(x.Context(), queue, p); err != nil {
			return err
		}
	}
	return s.pauses(x, queue)
}

// pauses answers with what is paused of a queue.
func (s *Server) pauses(x *exchange, queue string) error {
	paused, err := s.Jobs.Paused(x.Context(), queue)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string][]jobs.Pause{"paused": append([]jobs.Pause{}, paused...)})
}
