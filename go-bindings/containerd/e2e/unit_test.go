// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

func TestCapabilitiesOfTheUnitAreEnough(t *testing.T) {
	testneeds.Root(t)
	unit, err := os.ReadFile(filepath.Join(repository(t), "deploy", "ocilayer-differ.service"))
	if err != nil {
		t.Fatal(err)
	}
	set := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindSubmatch(unit)
	if set == nil {
		t.Fatal("the unit names no capabilities")
	}
	bounding := "-all"
	for _, name := range strings.Fields(string(set[1])) {
		bounding += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	for _, image := range []string{debianImage(t, "gzip"), hardImage(t)} {
		t.Run(filepath.Base(image), func(t *testing.T) {
			s := setup{release: releases[0], config: byTransfer("ocilayer")}
			m := s.prepare(t)
			p := startDifferBy(t, m.dir, []string{"setpriv", "--bounding-set", bounding, "--no-new-privs"})
			s.startBehind(t, m, p)
			m.importImage(t, image)
			stock := setup{release: s.release}.start(t)
			stock.importImage(t, image)
			report(t, stock.snapshots(t), m.snapshots(t))
		})
	}
}

func TestRequestWaitsInTheActivatedSocketForADifferThatIsNotThereYet(t *testing.T) {
	testneeds.Root(t)
	s := setup{release: releases[0], config: byTransfer("ocilayer")}
	m := s.prepare(t)
	p := &proxy{dir: m.dir}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.socket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s.startBehind(t, m, p)
	image := hardImage(t)
	imported := make(chan error, 1)
	go func() {
		_, err := m.tryCtr("image", "import", "--base-name", strings.TrimSuffix(imageName, ":demo"), image)
		imported <- err
	}()
	// containerd has prepared the first layer's directory, and turns to the differ next.
	m.until(t, "a snapshot", func() bool { return exists(filepath.Join(m.snapshotterDir(), "1")) })

	passed, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	// systemd names the process that the socket is for, which only that process can here.
	p = startDifferBy(t, m.dir, []string{"sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh"}, passed)
	if err := <-imported; err != nil {
		t.Fatal(err)
	}
	if applied := p.applied(t); applied != len(hardLayers) {
		t.Errorf("%d layers applied", applied)
	}
	p.stop(t)
	if !exists(p.socket()) {
		t.Error("the differ took systemd's socket away")
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestSocketIsRootsAloneAndSurvivesARestart(t *testing.T) {
	testneeds.Root(t)
	dir := shortTempDir(t)
	for range 2 {
		p := startDiffer(t, dir)
		info, err := os.Lstat(p.socket())
		if err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Errorf("socket: %v, %v", info, err)
		}
		second := exec.Command(differ(t), "serve", "--config", emptyConfig(t, dir), "--state", filepath.Join(dir, "differ"), "--root", dir, "--address", p.socket()+"2")
		if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "in use by another") {
			t.Errorf("a second differ with this state: %v\n%s", err, out)
		}
		p.stop(t)
	}
}
