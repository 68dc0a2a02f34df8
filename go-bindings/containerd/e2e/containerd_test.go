// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/tree"
)

// patience is how long a daemon may take to come up or to go, on a machine that is busy with other
// tests. It is no expectation.
const patience = 2 * time.Minute

// daemon is a process that ends with its test.
type daemon struct {
	command *exec.Cmd
	log     string
	exited  chan struct{}
}

func startDaemon(t testing.TB, log string, environment []string, name string, args ...string) *daemon {
	t.Helper()
	return startDaemonWith(t, log, environment, nil, name, args...)
}

// startDaemonWith passes files to it, from descriptor 3 on.
func startDaemonWith(t testing.TB, log string, environment []string, files []*os.File, name string, args ...string) *daemon {
	t.Helper()
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d := &daemon{command: exec.Command(name, args...), log: log, exited: make(chan struct{})}
	d.command.Stdout, d.command.Stderr = file, file
	d.command.ExtraFiles = files
	d.command.Env = append(os.Environ(), environment...)
	// A test run that is killed leaves no daemon behind.
	d.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.command.Wait()
		close(d.exited)
	}()
	t.Cleanup(func() {
		d.stop(t)
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", log, lastLines(string(text), 40))
		}
	})
	return d
}

func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

func (d *daemon) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := d.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func (d *daemon) wait(t testing.TB) {
	t.Helper()
	select {
	case <-d.exited:
	case <-time.After(patience):
		d.command.Process.Kill()
		t.Errorf("%s did not end", d.command.Path)
	}
}

func (d *daemon) stop(t testing.TB) {
	d.command.Process.Signal(syscall.SIGTERM)
	d.wait(t)
}

// until asks again and again, until ready says yes or the daemon is gone.
func (d *daemon) until(t testing.TB, what string, ready func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ready() {
		select {
		case <-d.exited:
			t.Fatalf("%s: %s ended", what, d.command.Path)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still waiting", what)
		}
	}
}

// machine is a containerd with directories and sockets of its own.
type machine struct {
	*daemon
	dir     string
	ctrPath string
}

// setup is how a test wants its containerd.
type setup struct {
	release release
	// binary is stock containerd if it is empty.
	binary string
	// config follows what every containerd of these tests is told.
	config string
}

// prepare makes the directory of a containerd that is not started yet.
func (s setup) prepare(t testing.TB) *machine {
	t.Helper()
	return &machine{dir: shortTempDir(t), ctrPath: filepath.Join(s.release.stock(t), "ctr")}
}

// start runs a containerd and waits until it answers.
func (s setup) start(t testing.TB) *machine {
	t.Helper()
	m := s.prepare(t)
	s.startIn(t, m)
	return m
}

// startWithDiffer runs a containerd that has a proxy plugin, and the ocilayer-differ behind it. It
// is the differ that is started first, so that containerd is asked only once it is there.
func (s setup) startWithDiffer(t testing.TB, flags ...string) (*machine, *proxy) {
	t.Helper()
	m := s.prepare(t)
	p := startDiffer(t, m.dir, flags...)
	s.startBehind(t, m, p)
	return m, p
}

// startBehind runs a containerd whose proxy plugin is p.
func (s setup) startBehind(t testing.TB, m *machine, p *proxy) {
	t.Helper()
	s.config = p.configFor() + s.config
	s.startIn(t, m)
}

func (s setup) startIn(t testing.TB, m *machine) {
	t.Helper()
	stock := s.release.stock(t)
	if s.binary == "" {
		s.binary = filepath.Join(stock, "containerd")
	}
	config := fmt.Sprintf(`version = %d
root = %q
state = %q
# It would leave a directory of its own outside of these.
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
  address = %q
[ttrpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
%s`, s.release.configVersion, m.root(), filepath.Join(m.dir, "state"), m.socket(), m.socket()+".ttrpc", filepath.Join(m.dir, "opt"), s.config)
	file := filepath.Join(m.dir, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// The shim is found beside containerd, runc where Debian puts it.
	path := "PATH=" + stock + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin"
	m.daemon = startDaemon(t, filepath.Join(m.dir, "containerd.log"), []string{path}, s.binary, "--config", file)
	m.until(t, "containerd", func() bool { _, err := m.tryCtr("version"); return err == nil })
}

// shortTempDir is a temporary directory whose name leaves room for a socket's: t.TempDir has the
// test's name in it.
func shortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "containerd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (m *machine) root() string   { return filepath.Join(m.dir, "root") }
func (m *machine) socket() string { return filepath.Join(m.dir, "containerd.sock") }

// ctr runs ctr, as an operator would, and returns what it printed.
func (m *machine) ctr(t testing.TB, args ...string) string {
	t.Helper()
	out, err := m.tryCtr(args...)
	if err != nil {
		t.Fatalf("ctr %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (m *machine) tryCtr(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, m.ctrPath, append([]string{"--address", m.socket(), "--namespace", namespace}, args...)...)
	var out, said bytes.Buffer
	command.Stdout, command.Stderr = &out, &said
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%w\n%s%s", err, &out, &said)
	}
	return out.String(), nil
}

// snapshots reads the directories of the only image's layers, bottom first.
func (m *machine) snapshots(t testing.TB) []tree.Tree {
	t.Helper()
	var trees []tree.Tree
	for _, directory := range m.layerDirectories(t) {
		read, err := tree.Read(directory)
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, read)
	}
	return trees
}

// mountsBelow are the mount points below dir in this mount namespace, the newest first.
func mountsBelow(t testing.TB, dir string) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var below []string
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			below = append([]string{fields[4]}, below...)
		}
	}
	return below
}

func unmountBelow(t testing.TB, dir string) {
	t.Helper()
	for _, point := range mountsBelow(t, dir) {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", point, err)
		}
	}
}
