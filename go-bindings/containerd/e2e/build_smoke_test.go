//go:build e2e

package e2e

import "testing"

func TestBuild(t *testing.T) {
	for _, r := range releases {
		r.stock(t)
		if r.plugin {
			r.withPlugin(t)
		}
		r.withArchive(t)
	}
	differ(t)
}
