// SPDX-License-Identifier: Apache-2.0

//go:build e2e && bench

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

// pairs is how many times each of two ways is measured, in turn: an odd number has a median.
const pairs = 7

// TestBenchmarkImport measures and asserts nothing. It is no Go benchmark, because those run one
// thing many times, not several in turn.
func TestBenchmarkImport(t *testing.T) {
	testneeds.Root(t)
	release := releases[0]
	contenders := []struct {
		name  string
		start func(t testing.TB) *machine
	}{
		{"stock", func(t testing.TB) *machine { return setup{release: release}.start(t) }},
		{"stock, 3 at once", func(t testing.TB) *machine { return setup{release: release, config: threeAtOnce}.start(t) }},
		{"ocilayer-differ", func(t testing.TB) *machine {
			m, _ := setup{release: release, config: byTransfer("ocilayer")}.startWithDiffer(t)
			return m
		}},
		{"built-in plugin", func(t testing.TB) *machine {
			return setup{release: release, binary: release.withPlugin(t), config: byTransfer("ocilayer")}.start(t)
		}},
	}
	for _, compression := range []string{"gzip", "zstd"} {
		archive := debianImage(t, compression)
		took := make([][]time.Duration, len(contenders))
		for pair := range pairs {
			for i, contender := range contenders {
				t.Run(fmt.Sprintf("%s/%s/%d", compression, contender.name, pair), func(t *testing.T) {
					m := contender.start(t)
					run(t, "sync")
					start := time.Now()
					m.importImage(t, archive)
					took[i] = append(took[i], time.Since(start))
				})
			}
		}
		for i, contender := range contenders {
			slices.Sort(took[i])
			t.Logf("%s, ctr image import of three Debian layers, %s: median %.2f s, %.2f to %.2f s", compression,
				contender.name, took[i][pairs/2].Seconds(), took[i][0].Seconds(), took[i][pairs-1].Seconds())
		}
	}
}
