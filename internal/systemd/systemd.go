// Package systemd tells the service manager how this service is, in the protocol of
// sd_notify(3): one datagram of VARIABLE=value lines for each piece of news. Every manager
// that sets NOTIFY_SOCKET understands it. Without one, nothing is told.
//
// The supervisor of cmd/worker calls it, and a worker without a supervisor.
package systemd

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	socketVariable      = "NOTIFY_SOCKET"
	watchdogVariable    = "WATCHDOG_USEC"
	watchdogPIDVariable = "WATCHDOG_PID"
)

// tellTime bounds one datagram: a manager that hangs must not hold the service up.
const tellTime = time.Second

// Manager is the service manager that started this process. The zero Manager is none.
type Manager struct {
	// Socket is the path of the manager's socket, or @ and the name of an abstract one.
	Socket string
	// Watchdog is how long the service may give the manager no sign of life; 0 is for ever.
	Watchdog time.Duration
}

// FromEnvironment reads what the manager has set for this process.
func FromEnvironment(getenv func(string) string) (Manager, error) {
	m := Manager{Socket: getenv(socketVariable)}
	limit := getenv(watchdogVariable)
	if m.Socket == "" || limit == "" {
		return m, nil
	}
	if pid := getenv(watchdogPIDVariable); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return m, nil // it watches another process
	}
	usec, err := strconv.ParseInt(limit, 10, 64)
	if err != nil || usec <= 0 || usec > int64(maxWatchdog/time.Microsecond) {
		return m, fmt.Errorf("%s=%q is no number of microseconds", watchdogVariable, limit)
	}
	m.Watchdog = time.Duration(usec) * time.Microsecond
	return m, nil
}

// maxWatchdog keeps microseconds within a time.Duration.
const maxWatchdog = 365 * 24 * time.Hour

// HideFromChildren removes the manager's variables from this process's environment, so
// that no program it starts speaks in its name.
func HideFromChildren() error {
	for _, name := range []string{socketVariable, watchdogVariable, watchdogPIDVariable} {
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("remove %s from the environment: %w", name, err)
		}
	}
	return nil
}

// tell sends one datagram. Each has a connection of its own, so that a socket that was
// made anew is found.
func (m Manager) tell(ctx context.Context, lines []string) error {
	if m.Socket == "" || len(lines) == 0 {
		return nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unixgram", m.Socket)
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(tellTime)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
