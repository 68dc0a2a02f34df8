// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

// stockIsWrong are containerd's own tests that ask for what docs/layer-semantics.md says is wrong.
var stockIsWrong = map[string]string{
	"TestBreakouts/SymlinkParentDirectory":   "an entry .. that is a symlink is refused, not ignored",
	"TestBreakouts/SymlinkEmptyFilename":     "the root as a symlink is refused, not ignored",
	"TestBreakouts/WhiteoutDirectoryName":    "a file below .wh.etc is refused: a whiteout is no directory",
	"TestBreakouts/HardlinkRelativeUpAndOut": "missing/../etc leads nowhere, as for the kernel; containerd shortens the text",
}

// TestContainerdsOwnTestsPassOverOurApply runs the tests of containerd's archive package, its
// tartest cases and continuity's file system suite among them, with the body of Apply exchanged.
func TestContainerdsOwnTestsPassOverOurApply(t *testing.T) {
	testneeds.Root(t)
	release := releases[0]
	const file = "pkg/archive/tar.go"
	text, err := os.ReadFile(filepath.Join(release.source(t), file))
	if err != nil {
		t.Fatal(err)
	}
	const body = "return options.applyFunc(ctx, root, r, options)"
	if strings.Count(string(text), body) != 1 {
		t.Fatalf("%s has changed: no %q", file, body)
	}
	exchanged := strings.Replace(string(text), body, "return applyByOcilayer(ctx, root, r, options)", 1)
	bridge := `package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ocilayer/ocilayer/go-bindings"
	ours "` + ourModule + `/archive"
)

func applyByOcilayer(ctx context.Context, root string, r io.Reader, options ApplyOptions) (int64, error) {
	size, err := ours.Apply(ctx, root, r, func(o *ours.ApplyOptions) error {
		o.Filter, o.ConvertWhiteout = ours.Filter(options.Filter), ours.ConvertWhiteout(options.ConvertWhiteout)
		o.Parents, o.NoSameOwner = options.Parents, options.NoSameOwner
		return nil
	})
	if errors.Is(err, ocilayer.ErrLayer) {
		// What it is called is the caller's matter.
		err = fmt.Errorf("%w: %w", errInvalidArchive, err)
	}
	return size, err
}
`
	results := release.goTest(t, map[string]string{file: exchanged, "pkg/archive/bridge.go": bridge}, "./pkg/archive")
	passed := 0
	for name, result := range results {
		reason, known := stockIsWrong[name]
		switch {
		case result.failed && known:
			t.Logf("%s: %s", name, reason)
		case result.failed:
			t.Errorf("%s:\n%s", name, result.output)
		case known:
			t.Errorf("%s passes, and is said not to: %s", name, reason)
		default:
			passed++
		}
	}
	t.Logf("%d of containerd's own tests pass, %d are known not to", passed, len(stockIsWrong))
	if passed == 0 {
		t.Error("no test ran")
	}
}

type result struct {
	failed bool
	output string
}

// goTest runs tests of the release with changed standing in for the files of those names, and
// returns the results of those that have no tests below them.
func (r release) goTest(t testing.TB, changed map[string]string, pkg string) map[string]result {
	t.Helper()
	source := r.source(t)
	work := target(t, r.version, "work-tests")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	copyInto(t, work, filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum"))
	r.requireOurs(t, work, changed)
	command := exec.Command("go", "test", "-json", "-count=1", "-mod=mod", "-modfile", filepath.Join(work, "go.mod"),
		"-overlay", writeOverlay(t, work, source, changed), pkg, "-test.root")
	command.Dir = source
	command.Env = append(os.Environ(), "GOWORK=off")
	out, err := command.Output()
	results := map[string]result{}
	output := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var event struct{ Action, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &event) != nil {
			continue
		}
		output[event.Test] += event.Output
		if event.Test != "" && (event.Action == "pass" || event.Action == "fail") {
			results[event.Test] = result{event.Action == "fail", output[event.Test]}
		}
	}
	if len(results) == 0 {
		t.Fatalf("go test %s: %v\n%s", pkg, err, out)
	}
	for name := range results {
		for parent := filepath.Dir(name); parent != "."; parent = filepath.Dir(parent) {
			delete(results, parent)
		}
	}
	return results
}
