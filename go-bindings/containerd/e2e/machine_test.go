// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/tree"
)

func TestPulledImageIsUnpackedByTheDiffer(t *testing.T) {
	testneeds.Root(t)
	reference := serveImage(t, debianImage(t, "gzip"))
	for _, release := range releases {
		t.Run(release.name, func(t *testing.T) {
			// Both keys, as docs/containerd.md has it: which one a pull goes by is the release's affair.
			m, proxy := setup{release: release, config: byTransfer("ocilayer") + byService("ocilayer")}.startWithDiffer(t)
			m.ctr(t, "image", "pull", "--plain-http", reference)
			trees := m.snapshots(t)
			if applied := proxy.applied(t); applied != len(trees) {
				t.Errorf("the differ applied %d of %d layers", applied, len(trees))
			}
			stock := setup{release: release}.start(t)
			stock.ctr(t, "image", "pull", "--plain-http", reference)
			report(t, stock.snapshots(t), trees)
		})
	}
}

// serveImage runs a registry that has the image of an OCI archive, and returns its reference.
func serveImage(t testing.TB, archive string) string {
	t.Helper()
	dir := shortTempDir(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// The registry opens its port itself. Nobody else asks for one just here.
	address := listener.Addr().String()
	listener.Close()
	config := filepath.Join(dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", filepath.Join(dir, "registry"), address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	registry := startDaemon(t, filepath.Join(dir, "registry.log"), nil, "docker-registry", "serve", config)
	registry.until(t, "docker-registry", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	reference := address + "/image:demo"
	run(t, "skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", "oci-archive:"+archive, "docker://"+reference)
	return reference
}

// Layers that containerd unpacks several at once, without a word about their parents, end as if it had done so
// one by one: attributes of implied parents, symlinks and whiteouts of lower layers, the root. Also where
// what a layer waits for waits for its place.
func TestLayersUnpackedAtOnceAreExact(t *testing.T) {
	testneeds.Root(t)
	release := releases[0]
	for _, image := range []string{hardImage(t), debianImage(t, "gzip")} {
		// containerd does so with pulls only.
		reference := serveImage(t, image)
		one, _ := setup{release: release, config: byTransfer("ocilayer")}.startWithDiffer(t)
		one.ctr(t, "image", "pull", "--plain-http", reference)
		want := one.snapshots(t)
		exact := func(t *testing.T, m *machine) {
			t.Helper()
			m.ctr(t, "image", "pull", "--plain-http", reference)
			if log, err := os.ReadFile(m.daemon.log); err != nil || !strings.Contains(string(log), "parallel=true") {
				t.Errorf("containerd did not unpack several at once: %v", err)
			}
			got := m.snapshots(t)
			if len(got) != len(want) {
				t.Fatalf("%d layers, one by one %d", len(got), len(want))
			}
			for layer := range want {
				for _, difference := range tree.Compare(want[layer], got[layer]) {
					t.Errorf("layer %d: %s", layer, difference)
				}
			}
		}
		config := debugging + threeAtOnce + byTransfer("ocilayer")
		for _, places := range []string{"1", "3"} {
			t.Run(filepath.Base(image)+", "+places, func(t *testing.T) {
				m, proxy := setup{release: release, config: config}.startWithDiffer(t, "--max-concurrent", places)
				exact(t, m)
				if applied := proxy.applied(t); applied != len(want) {
					t.Errorf("the differ applied %d of %d layers", applied, len(want))
				}
			})
		}
		t.Run(filepath.Base(image)+", plugin", func(t *testing.T) {
			exact(t, setup{release: release, binary: release.withPlugin(t), config: config}.start(t))
		})
	}
}

// debugging has containerd say whether it unpacked several layers at once.
const debugging = "[debug]\n  level = \"debug\"\n"

func TestParallelUnpackGivesStocksSnapshots(t *testing.T) {
	testneeds.Root(t)
	release := releases[0]

	for _, image := range []string{debianImage(t, "gzip"), debianImage(t, "zstd")} {
		t.Run(filepath.Base(image), func(t *testing.T) {
			reference := serveImage(t, image)
			stock := setup{release: release, config: threeAtOnce}.start(t)
			stock.ctr(t, "image", "pull", "--plain-http", reference)
			m, proxy := setup{release: release, config: threeAtOnce + byTransfer("ocilayer")}.startWithDiffer(t, "--max-concurrent", "3")
			m.ctr(t, "image", "pull", "--plain-http", reference)
			trees := m.snapshots(t)
			if applied := proxy.applied(t); applied != len(trees) {
				t.Errorf("the differ applied %d of %d layers", applied, len(trees))
			}
			report(t, stock.snapshots(t), trees)
		})
	}
}

func TestContainerRunsFromWhatTheDifferUnpacked(t *testing.T) {
	testneeds.Root(t)
	release := releases[0]
	image := debianImage(t, "gzip")
	hello := func(m *machine) (string, error) {
		m.importImage(t, image)
		return m.tryCtr("run", "--rm", imageName, "hello", "/bin/cat", "/etc/skel/new", "/etc/skel/hardlink")
	}
	m, proxy := setup{release: release, config: byTransfer("ocilayer")}.startWithDiffer(t)
	said, err := hello(m)
	if err != nil {
		// Only what stops stock containerd as well is this machine's fault.
		if _, stockErr := hello(setup{release: release}.start(t)); stockErr != nil && os.Getenv("CI") != "true" {
			fmt.Fprintf(os.Stderr, "SKIPPED %s: no container runs on this machine: %v\n", t.Name(), stockErr)
			t.SkipNow()
		}
		t.Fatal(err)
	}
	if want := "only this\nonly this\n"; said != want {
		t.Errorf("the container said %q, not %q", said, want)
	}
	if proxy.applied(t) == 0 {
		t.Error("the differ applied nothing")
	}
}

func TestDifferThatIsKilledMidApplyLeavesNothingBehind(t *testing.T) {
	testneeds.Root(t)
	release := releases[0]
	image := debianImage(t, "gzip")
	m, proxy := setup{release: release, config: byTransfer("ocilayer")}.startWithDiffer(t, "--threads", "1")
	failed := make(chan error, 1)
	go func() {
		_, err := m.tryCtr("image", "import", "--base-name", strings.TrimSuffix(imageName, ":demo"), image)
		failed <- err
	}()
	proxy.until(t, "an apply", func() bool { return hasEntries(m.snapshotterDir()) })
	// Frozen before anything else, so that the layer is not finished when the blow falls.
	proxy.signal(t, syscall.SIGSTOP)
	proxy.signal(t, syscall.SIGKILL)
	proxy.wait(t)
	if err := <-failed; err == nil {
		t.Fatal("the import succeeded without its differ")
	}
	if left := mountsBelow(t, m.dir); len(left) != 0 {
		t.Errorf("left mounted: %v", left)
	}

	startDiffer(t, m.dir)
	m.importImage(t, image)
	stock := setup{release: release}.start(t)
	stock.importImage(t, image)
	report(t, stock.snapshots(t), m.snapshots(t))
	if left := mountsBelow(t, m.dir); len(left) != 0 {
		t.Errorf("left mounted: %v", left)
	}
}

func (m *machine) snapshotterDir() string {
	return filepath.Join(m.root(), "io.containerd.snapshotter.v1.overlayfs", "snapshots")
}

// hasEntries says whether any snapshot below dir has begun to fill.
func hasEntries(dir string) bool {
	entries, err := filepath.Glob(filepath.Join(dir, "*", "fs", "*"))
	return err == nil && len(entries) > 0
}

func TestDifferThatStopsFinishesWhatRuns(t *testing.T) {
	testneeds.Root(t)
	image := debianImage(t, "gzip")
	m, proxy := setup{release: releases[0], config: byTransfer("ocilayer")}.startWithDiffer(t, "--threads", "1")
	over := make(chan struct{})
	go func() {
		// It finds no differ for the second layer.
		m.tryCtr("image", "import", "--base-name", strings.TrimSuffix(imageName, ":demo"), image)
		close(over)
	}()
	proxy.until(t, "an apply", func() bool { return hasEntries(m.snapshotterDir()) })
	proxy.signal(t, syscall.SIGTERM)
	proxy.wait(t)
	<-over
	log, err := os.ReadFile(proxy.log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "layer applied") || strings.Contains(string(log), "not applied") {
		t.Errorf("the running layer was not finished:\n%s", log)
	}
	if !strings.Contains(string(log), "msg=stopped") {
		t.Errorf("no orderly stop:\n%s", log)
	}
}

func TestBlobsWithoutFilesComeThroughTheContentService(t *testing.T) {
	testneeds.Root(t)
	image := debianImage(t, "gzip")
	for _, release := range releases {
		t.Run(release.name, func(t *testing.T) {
			m, proxy := setup{release: release, config: byTransfer("ocilayer")}.startWithDiffer(t, "--content-root", t.TempDir())
			m.importImage(t, image, "--local=false")
			trees := m.snapshots(t)
			if applied := proxy.applied(t); applied != len(trees) {
				t.Errorf("the differ applied %d of %d layers", applied, len(trees))
			}
			stock := setup{release: release}.start(t)
			stock.importImage(t, image)
			report(t, stock.snapshots(t), trees)
		})
	}
}

func TestSnapshotsOutsideOfTheRootsAreRefused(t *testing.T) {
	testneeds.Root(t)
	m, proxy := setup{release: releases[0], config: byTransfer("ocilayer")}.startWithDiffer(t, "--root", t.TempDir())
	_, err := m.tryCtr("image", "import", hardImage(t))
	if err == nil || !strings.Contains(err.Error(), "is not below") {
		t.Errorf("error %v", err)
	}
	if refused := proxy.metric(t, `ocilayer_differ_layers_total{result="refused"}`); refused == 0 {
		t.Error("no refusal was counted")
	}
	if hasEntries(m.snapshotterDir()) {
		t.Error("something was applied all the same")
	}
}

func TestLayersAreStillWrittenByContainerdsOwnDiffer(t *testing.T) {
	testneeds.Root(t)
	for _, way := range []way{ways[1], ways[3]} {
		t.Run(way.name, func(t *testing.T) {
			s := setup{release: releases[0], config: way.config}
			if way.binary != nil {
				s.binary = way.binary(s.release, t)
			}
			var m *machine
			if way.proxied {
				m, _ = s.startWithDiffer(t)
			} else {
				m = s.start(t)
			}
			m.importImage(t, hardImage(t), way.importFlags...)
			var chain []string
			for _, line := range strings.Split(m.ctr(t, "snapshots", "list"), "\n") {
				if fields := strings.Fields(line); len(fields) == 2 && strings.HasPrefix(fields[0], "sha256:") {
					chain = append(chain, fields[0])
				}
			}
			if len(chain) != 1 {
				t.Fatalf("%d bottom snapshots", len(chain))
			}
			m.ctr(t, "snapshots", "prepare", "changed", chain[0])
			if layer := m.ctr(t, "snapshots", "diff", chain[0], "changed"); !strings.HasPrefix(layer, "\x1f\x8b") {
				t.Errorf("no gzip: %.40q", layer)
			}
		})
	}
}
