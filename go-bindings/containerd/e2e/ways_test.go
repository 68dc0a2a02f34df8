// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e runs real containerds, stock and changed, and compares what they unpack.
package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/tree"
)

// way is one of the ways in which ocilayer gets into containerd.
type way struct {
	name string
	// binary is a changed containerd; stock if it is nil.
	binary func(release, testing.TB) string
	// config chooses the differ.
	config string
	// proxied says that ocilayer-differ serves it.
	proxied bool
	// importFlags choose the code in containerd that asks for the differ.
	importFlags []string
	// plugin says that it needs a release with the plugin's interfaces.
	plugin bool
}

var ways = []way{
	{name: "proxy by unpack_config", config: byTransfer("ocilayer"), proxied: true, importFlags: []string{"--local=false"}},
	{name: "proxy by diff service", config: byService("ocilayer"), proxied: true, importFlags: []string{"--local=true"}},
	{name: "built-in plugin by unpack_config", binary: release.withPlugin, config: byTransfer("ocilayer"), importFlags: []string{"--local=false"}, plugin: true},
	{name: "built-in plugin by diff service", binary: release.withPlugin, config: byService("ocilayer"), importFlags: []string{"--local=true"}, plugin: true},
	{name: "one import line changed", binary: release.withArchive, importFlags: []string{"--local=false"}},
}

func TestSnapshotsAreStocksExceptWhereStockIsWrong(t *testing.T) {
	testneeds.Root(t)
	images := []struct {
		name, archive string
		// shows says that every rule must be seen at work, or else stock's own applier was.
		shows bool
		// ways is how many of them are tried. The compression is no affair of most.
		ways int
	}{
		{"Debian in gzip", debianImage(t, "gzip"), false, len(ways)},
		{"Debian in zstd", debianImage(t, "zstd"), false, 1},
		{"hard layers", hardImage(t), true, len(ways)},
	}
	for _, release := range releases {
		t.Run(release.name, func(t *testing.T) {
			for _, image := range images {
				t.Run(image.name, func(t *testing.T) {
					stock := way{importFlags: []string{"--local=false"}}.unpack(t, release, image.archive)
					for _, way := range ways[:image.ways] {
						if way.plugin && !release.plugin {
							continue
						}
						t.Run(way.name, func(t *testing.T) {
							seen := report(t, stock, way.unpack(t, release, image.archive))
							for _, rule := range rules {
								if image.shows && seen[rule.name] == 0 {
									t.Errorf("no difference by the rule %q", rule.name)
								}
							}
						})
					}
				})
			}
		})
	}
}

// unpack imports an image in this way and returns its snapshots.
func (w way) unpack(t *testing.T, release release, archive string) []tree.Tree {
	s := setup{release: release, config: w.config}
	if w.binary != nil {
		s.binary = w.binary(release, t)
	}
	if !w.proxied {
		m := s.start(t)
		m.importImage(t, archive, w.importFlags...)
		return m.snapshots(t)
	}
	m, proxy := s.startWithDiffer(t)
	m.importImage(t, archive, w.importFlags...)
	trees := m.snapshots(t)
	if applied := proxy.applied(t); applied != len(trees) {
		t.Errorf("the differ applied %d of %d layers", applied, len(trees))
	}
	return trees
}

func (m *machine) importImage(t testing.TB, archive string, flags ...string) string {
	t.Helper()
	args := append([]string{"image", "import", "--base-name", strings.TrimSuffix(imageName, ":demo")}, flags...)
	return m.ctr(t, append(args, archive)...)
}

// report compares the snapshots layer by layer, says what differs and by which rule, and fails for
// what no rule explains. It returns how often each rule did.
func report(t *testing.T, stock, ours []tree.Tree) map[string]int {
	t.Helper()
	seen := map[string]int{}
	if len(stock) != len(ours) {
		t.Fatalf("stock has %d layers, ocilayer %d", len(stock), len(ours))
	}
	for layer := range stock {
		found := tree.Compare(stock[layer], ours[layer])
		counts := map[string]int{}
		for _, difference := range found {
			name := explain(difference, under{stock[:layer], ours[:layer]})
			if name == "" {
				t.Errorf("layer %d: %s", layer, difference)
				continue
			}
			counts[name]++
		}
		line := fmt.Sprintf("layer %d: %d entries compared, %d differ", layer, len(stock[layer]), len(found))
		for _, rule := range rules {
			if counts[rule.name] > 0 {
				line += fmt.Sprintf("; %s: %d", rule.name, counts[rule.name])
				seen[rule.name] += counts[rule.name]
			}
		}
		t.Log(line)
	}
	return seen
}
