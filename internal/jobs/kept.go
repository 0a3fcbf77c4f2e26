package jobs

import (
	"fmt"
	"time"
)

// ServiceStatus is what became of a kept service. Its job has succeeded once the
// service was ready; nothing that comes later changes that.
type ServiceStatus struct {
	State ServiceState `json:"state"`
	// Ended is when its container ended, zero while the service is up.
	Ended time.Time `json:"ended,omitzero"`
	// ExitCode of the container, nil while it is up or when it is not known.
	ExitCode *int `json:"exit_code,omitempty"`
	// OOM is true when the kernel killed a process of the container for memory.
	OOM bool `json:"oom,omitempty"`
	// CancelledBy is who asked for the end of a cancelled service.
	CancelledBy string `json:"cancelled_by,omitempty"`
	// Reason says how a service was lost, or why the worker ended it before its
	// time, "" for any other.
	Reason string `json:"reason,omitempty"`
}

// ServiceState is where a kept service is in its life.
type ServiceState string

// The states of a kept service. All but ServiceUp are final.
const (
	ServiceUp        ServiceState = "up"        // its container runs, or no worker has reported its end yet
	ServiceEnded     ServiceState = "ended"     // its container ended by itself
	ServiceExpired   ServiceState = "expired"   // the worker ended it when its time was over
	ServiceCancelled ServiceState = "cancelled" // the worker ended it on request
	ServiceLost      ServiceState = "lost"      // its container or its host was lost
)

// String says what became of the service, for people.
func (s ServiceStatus) String() string {
	text := string(s.State)
	switch {
	case s.State == ServiceEnded && s.Reason == "" && s.ExitCode != nil:
		text += fmt.Sprintf(" with exit code %d", *s.ExitCode)
		if s.OOM {
			text += ", out of memory"
		}
	case s.CancelledBy != "":
		text += " by " + s.CancelledBy
	case s.Reason != "":
		text += ": " + s.Reason
	}
	return text
}

// ServiceEnd is what a worker reports when a kept service has ended.
type ServiceEnd struct {
	// Status is final. Redis sets Ended.
	Status ServiceStatus `json:"status"`
	// Ago is how long ago the container ended.
	Ago time.Duration `json:"-"`
	// Log is the whole log. It takes the place of the one in the result, which
	// ends where the service was ready.
	Log LogInfo `json:"log,omitzero"`
}

// Up reports whether the job keeps a service whose end is not recorded.
func (j Job) Up() bool {
	return j.Result != nil && j.Result.Service != nil && j.Result.Service.State == ServiceUp
}
