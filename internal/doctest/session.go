package doctest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prompt is what the shell prints when a command has ended, with its exit code: behind all
// that the command has printed.
const prompt = "\x1e$?\x1e"

// session is a shell on a terminal.
type session struct {
	cmd    *exec.Cmd
	master *os.File
	// ended is closed when nothing more comes from the terminal.
	ended chan struct{}

	mu  sync.Mutex // guards the rest
	got []byte
	// news is closed when there is more in got.
	news chan struct{}
}

// ctrlC is what a terminal shows where Ctrl-C was pressed.
const ctrlC = "^C"

// start starts a shell on a terminal of its own.
func start(ctx context.Context, o Options) (*session, error) {
	master, tty, err := terminal()
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	defer tty.Close()
	// A background job of a shell ignores SIGINT, and so would all that it starts.
	argv := []string{"env", "--default-signal", "bash", "--noprofile", "--norc", "--noediting", "-i"}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if o.Command != nil {
		cmd = o.Command(ctx, argv...)
	}
	cmd.Dir, cmd.Env = o.Dir, append(slices.Clip(o.Env), "PS1="+prompt, "PS2=", "PROMPT_COMMAND=", "HISTFILE=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start a shell: %w", err), master.Close())
	}
	s := &session{cmd: cmd, master: master, ended: make(chan struct{}), news: make(chan struct{})}
	go s.listen()
	if _, _, err := s.await(time.Minute, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the shell: %w", err), s.close())
	}
	return s, nil
}

// terminal makes a pseudo terminal that changes nothing of what is written to it.
func terminal() (master, tty *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err == nil {
		mode.Oflag &^= unix.OPOST
		mode.Lflag &^= unix.ECHO
		mode.Lflag |= unix.NOFLSH // Ctrl-C would take along what the shell says of it
		err = unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, mode)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close(), tty.Close())
	}
	return master, tty, nil
}

// listen collects what the terminal shows.
func (s *session) listen() {
	defer close(s.ended)
	buf := make([]byte, 32<<10)
	for {
		n, err := s.master.Read(buf)
		s.mu.Lock()
		s.got = append(s.got, buf[:n]...)
		close(s.news)
		s.news = make(chan struct{})
		s.mu.Unlock()
		if err != nil { // no process has the terminal open any more
			return
		}
	}
}

// errLate says that a command did not end in time.
var errLate = errors.New("it has not ended in time")

// run runs a command to its end. press is asked after each piece of output whether it is time
// for Ctrl-C, until it has been once; nil is never.
func (s *session) run(command string, limit time.Duration, press func(lines []string) bool) (lines []string, code int, err error) {
	if _, err := s.master.WriteString(command + "\n"); err != nil {
		return nil, 0, fmt.Errorf("give a command to the shell: %w", err)
	}
	return s.await(limit, press)
}

// await returns what is printed up to the next prompt.
func (s *session) await(limit time.Duration, press func(lines []string) bool) (lines []string, code int, err error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	shown := ""
	for {
		s.mu.Lock()
		text, rest, done := bytes.Cut(s.got, []byte("\x1e"))
		number, rest, whole := bytes.Cut(rest, []byte("\x1e"))
		if done && whole {
			shown += string(text)
			s.got = bytes.Clone(rest)
			s.mu.Unlock()
			code, err = strconv.Atoi(string(number))
			return split(shown), code, err
		}
		if !done {
			shown += string(s.got)
			s.got = nil
		}
		news := s.news
		s.mu.Unlock()
		if press != nil && press(split(shown)) {
			press = nil
			shown += ctrlC + "\n"
			if _, err := s.master.WriteString("\x03"); err != nil {
				return split(shown), 0, fmt.Errorf("press Ctrl-C: %w", err)
			}
		}
		select {
		case <-news:
		case <-s.ended:
			return split(shown), 0, errors.New("the shell has ended")
		case <-late.C:
			return split(shown), 0, errLate
		}
	}
}

// split cuts a text into lines, as a page has them.
func split(text string) []string {
	text = strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t")
	}
	return lines
}

// close ends the shell and all that it has started and not ended.
func (s *session) close() error {
	// The shell ignores SIGTERM.
	for _, sigs := range [][]syscall.Signal{{syscall.SIGTERM, syscall.SIGHUP}, {syscall.SIGKILL}} {
		for _, pid := range s.members() {
			for _, sig := range sigs {
				_ = syscall.Kill(pid, sig) // it may end right now
			}
		}
		if s.empty(patience) {
			break
		}
	}
	_ = s.cmd.Wait() // it was killed, or ended with the code of the last command
	err := s.master.Close()
	<-s.ended
	return err
}

// patience is how long what a page has left running may take to end, before it is killed.
const patience = 10 * time.Second

// empty waits until no process of the session is left but those that wait to be collected.
func (s *session) empty(limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(s.members()) > 0 {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// members are the processes of the session that run.
func (s *session) members() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may contain anything; then come state, parent, group, session.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 3 && fields[0] != "Z" && fields[3] == strconv.Itoa(s.cmd.Process.Pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
