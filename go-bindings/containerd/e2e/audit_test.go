// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

const opaqueMark = "trusted.overlay.opaque"

// audit runs `ocilayer-differ audit` on a containerd, and returns its exit status and what it printed.
func audit(t *testing.T, m *machine, flags ...string) (status int, out string) {
	t.Helper()
	return ask(t, m, "audit", flags...)
}

func ask(t *testing.T, m *machine, what string, flags ...string) (status int, out string) {
	t.Helper()
	command := exec.Command(differ(t), append([]string{what, "--containerd", m.socket()}, flags...)...)
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(text)
}

func TestAuditFindsAndRepairsAWrongMarkInASnapshot(t *testing.T) {
	testneeds.Root(t)
	for _, release := range releases {
		t.Run(release.name, func(t *testing.T) {
			m, _ := setup{release: release, config: byTransfer("ocilayer") + byService("ocilayer")}.startWithDiffer(t)
			m.importImage(t, debianImage(t, "gzip"))
			expect := func(status int, said string, flags ...string) {
				t.Helper()
				if got, out := audit(t, m, flags...); got != status || !strings.Contains(out, said) {
					t.Errorf("audit %v: status %d, and not %d with %q:\n%s", flags, got, status, said, out)
				}
			}
			expect(0, namespace+" "+imageName+": 3 layers: clean")

			layers := m.layerDirectories(t)
			top := layers[len(layers)-1]
			if err := syscall.Setxattr(filepath.Join(top, "etc"), opaqueMark, []byte("y"), 0); err != nil {
				t.Fatal(err)
			}
			_, said := audit(t, m)
			t.Logf("audit says in the end: %s", lastLines(said, 2))
			expect(1, fmt.Sprintf("wrongly opaque       %q \"etc\"\n", top))
			expect(1, fmt.Sprintf("lost                 %q \"etc/passwd\" %q\n", top, layers[0]))
			status, out := audit(t, m, "--json", "--namespace", namespace)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			var first struct{ Damage, Image, Directory string }
			var last struct {
				Exact  bool
				Report struct{ Layers int }
			}
			if err := errors.Join(json.Unmarshal([]byte(lines[0]), &first), json.Unmarshal([]byte(lines[len(lines)-1]), &last)); err != nil {
				t.Error(err)
			}
			if status != 1 || first.Damage != "wrongly_opaque" || first.Image != imageName || first.Directory != top || !last.Exact || last.Report.Layers != 3 {
				t.Errorf("status %d, %+v, %+v", status, first, last)
			}

			expect(1, "removed 1 marks", "--repair")
			expect(0, ": clean", "--repair")
			if listed := m.ctr(t, "snapshots", "list"); strings.Contains(listed, "ocilayer-audit") {
				t.Errorf("left behind:\n%s", listed)
			}
			expect(2, "-live is for -repair", "--live")
			expect(1, "no such file", "--namespace", "x", "--containerd", filepath.Join(m.dir, "nobody.sock"))
		})
	}
}

// What a power cut leaves is found by the check that a timer runs, is counted for Prometheus, and mended.
func TestVerifyFindsAndAuditRestoresWhatWasCut(t *testing.T) {
	testneeds.Root(t)
	m := setup{release: releases[0]}.start(t)
	m.importImage(t, debianImage(t, "gzip"))
	figures := filepath.Join(t.TempDir(), "verify.prom")
	expect := func(status int, said, what string, flags ...string) {
		t.Helper()
		if got, out := ask(t, m, what, flags...); got != status || !strings.Contains(out, said) {
			t.Errorf("%s %v: status %d, and not %d with %q:\n%s", what, flags, got, status, said, out)
		}
	}
	counted := func(lines ...string) {
		t.Helper()
		text, err := os.ReadFile(figures)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains(string(text), line+"\n") {
				t.Errorf("no %q in\n%s", line, text)
			}
		}
	}
	expect(0, "3 layers: clean", "verify", "--figures", figures)
	counted(`ocilayer_verify_images{result="clean"} 1`, `ocilayer_verify_findings{kind="differs"} 0`)

	bottom := m.layerDirectories(t)[0]
	passwd := filepath.Join(bottom, "etc/passwd")
	before, err := os.ReadFile(passwd)
	if err == nil {
		err = os.Truncate(passwd, 0)
	}
	if err == nil {
		err = os.Remove(filepath.Join(bottom, "etc/group"))
	}
	if err != nil {
		t.Fatal(err)
	}
	expect(1, "missing", "verify", "--figures", figures)
	counted(`ocilayer_verify_images{result="damaged"} 1`, `ocilayer_verify_findings{kind="missing"} 1`)
	expect(2, "one of them is enough", "audit", "--repair", "--restore")
	expect(1, "restored ", "audit", "--restore")
	expect(0, "3 layers: clean", "verify", "--content", "--figures", figures)
	expect(0, "3 layers: clean", "audit")
	counted(`ocilayer_verify_images{result="clean"} 1`, `ocilayer_verify_images{result="damaged"} 0`)
	if after, err := os.ReadFile(passwd); err != nil || !bytes.Equal(before, after) {
		t.Errorf("etc/passwd: %v, %d bytes of %d", err, len(after), len(before))
	}
}

func TestAuditOfStocksSnapshotsFindsNoWrongMark(t *testing.T) {
	testneeds.Root(t)
	m := setup{release: releases[0]}.start(t)
	m.importImage(t, debianImage(t, "gzip"))
	if status, out := audit(t, m); status != 0 || !strings.Contains(out, "3 layers: clean") {
		t.Errorf("status %d:\n%s", status, out)
	}
}
