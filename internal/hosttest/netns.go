package hosttest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// netnsDir is where ip(8) keeps the handles of network namespaces.
const netnsDir = "/var/run/netns/"

// addNetns makes a network namespace with its loopback device up.
func addNetns(ctx context.Context, name string) error {
	if err := command(ctx, "ip", "netns", "add", name); err != nil {
		return err
	}
	return command(ctx, "nsenter", "--net="+netnsDir+name, "ip", "link", "set", "lo", "up")
}

func command(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w: %s", argv, err, out)
	}
	return nil
}

// Command prepares a program that runs inside the host's network namespace. It
// is not `ip netns exec`, which remounts /sys and hides the cgroups.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + h.Netns, name}, args...)...)
}

// Dial connects from inside the host's network namespace. The address must be
// an IP address and a port; names are resolved outside.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var conn net.Conn
	err := h.inside(func() (err error) {
		// The socket is made on this goroutine, so on this thread: one address,
		// no race of address families.
		conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen opens a listener inside the host's network namespace. Any goroutine may
// accept from it.
func (h *Host) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var l net.Listener
	err := h.inside(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// ListenPacket is net.ListenPacket inside the host's network namespace.
func (h *Host) ListenPacket(ctx context.Context, network, addr string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := h.inside(func() (err error) {
		conn, err = (&net.ListenConfig{}).ListenPacket(ctx, network, addr)
		return err
	})
	return conn, err
}

// inside calls f on a thread that is in the host's network namespace.
func (h *Host) inside(f func() error) error {
	result := make(chan error)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine and
		// no other goroutine finds itself in the namespace.
		runtime.LockOSThread()
		result <- func() error {
			ns, err := os.Open(h.Netns)
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace %s: %w", h.Netns, err)
			}
			return f()
		}()
	}()
	return <-result
}
