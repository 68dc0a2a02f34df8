// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// release is a containerd that the tests build from its Go module, stock and changed.
type release struct {
	name   string
	module string
	// version is pinned: a newer one is a change of these tests' subject, and so a commit.
	version string
	// applyFile imports containerd's archive package, archivePath.
	applyFile, archivePath string
	// runs says that a container is started with this release.
	runs bool
	// plugin says whether this release's interfaces are those of the built-in plugin.
	plugin bool
	// configVersion is what `version` is in its configuration.
	configVersion int
}

var releases = []release{
	{
		name: "2.4", module: "github.com/containerd/containerd/v2", version: "v2.4.2",
		applyFile:   "core/diff/apply/apply_linux.go",
		archivePath: "github.com/containerd/containerd/v2/pkg/archive",
		runs:        true, plugin: true, configVersion: 3,
	},
	{
		name: "1.7", module: "github.com/containerd/containerd", version: "v1.7.35",
		applyFile:     "diff/apply/apply_linux.go",
		archivePath:   "github.com/containerd/containerd/archive",
		configVersion: 2,
	},
}

// tags leave out what takes most of the time to build and has no part in unpacking.
const tags = "no_btrfs,no_zfs,no_aufs,no_devmapper,no_cri,no_tracing"

// ourModule is where the fork's import lines lead.
const ourModule = "github.com/ocilayer/ocilayer/go-bindings/containerd"

// repository is the checkout's top directory.
func repository(t testing.TB) string {
	t.Helper()
	top, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// target is where things are built and kept between runs.
func target(t testing.TB, elements ...string) string {
	t.Helper()
	base := os.Getenv("CARGO_TARGET_DIR")
	if base == "" {
		base = filepath.Join(repository(t), "target")
	}
	path := filepath.Join(append([]string{base, "containerd"}, elements...)...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// stock builds containerd and its commands as they are, and returns their directory.
func (r release) stock(t testing.TB) string {
	bin := target(t, r.version, "stock")
	if _, err := os.Stat(filepath.Join(bin, "ctr")); err != nil {
		packages := []string{"./cmd/containerd", "./cmd/ctr"}
		if r.runs {
			packages = append(packages, "./cmd/containerd-shim-runc-v2")
		}
		r.goBuild(t, bin, nil, packages...)
	}
	return bin
}

// withPlugin builds containerd with one file more, which has one blank import.
func (r release) withPlugin(t testing.TB) string {
	bin := target(t, r.version, "plugin")
	r.goBuild(t, bin, map[string]string{
		"cmd/containerd/builtins/ocilayer.go": "package builtins\n\nimport _ \"" + ourModule + "/plugin\"\n",
	}, "./cmd/containerd")
	return filepath.Join(bin, "containerd")
}

// withArchive builds containerd with one import line changed, in the file that applies layers.
func (r release) withArchive(t testing.TB) string {
	text, err := os.ReadFile(filepath.Join(r.source(t), r.applyFile))
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprintf("%q", r.archivePath)
	if strings.Count(string(text), before) != 1 {
		t.Fatalf("%s does not import %s", r.applyFile, before)
	}
	bin := target(t, r.version, "archive")
	r.goBuild(t, bin, map[string]string{
		r.applyFile: strings.Replace(string(text), before, fmt.Sprintf("%q", ourModule+"/archive"), 1),
	}, "./cmd/containerd")
	return filepath.Join(bin, "containerd")
}

// source is a copy of the release's module: Go replaces no file of its cache.
func (r release) source(t testing.TB) string {
	source := target(t, r.version, "source")
	if _, err := os.Stat(source); err == nil {
		return source
	}
	command := exec.Command("go", "mod", "download", "-json", r.module+"@"+r.version)
	// No directory with a go.mod, so that no module's requirements have a say.
	command.Dir = t.TempDir()
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v\n%s", r.module, err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	// A copy that was cut off is never mistaken for a whole one.
	part := source + ".part"
	if err := errors.Join(os.RemoveAll(part), os.CopyFS(part, os.DirFS(module.Dir)), os.Rename(part, source)); err != nil {
		t.Fatal(err)
	}
	return source
}

// goBuild builds packages of the release into bin as a fork would, with changed standing in for
// the files of those names.
func (r release) goBuild(t testing.TB, bin string, changed map[string]string, packages ...string) {
	t.Helper()
	if built[bin] {
		return
	}
	source := r.source(t)
	work := target(t, r.version, "work-"+filepath.Base(bin))
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"build", "-tags", tags, "-buildvcs=false", "-mod=mod", "-modfile", filepath.Join(work, "go.mod"), "-o", bin + "/"}
	copyInto(t, work, filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum"))
	if changed != nil {
		r.requireOurs(t, work, changed)
		args = append(args, "-overlay", writeOverlay(t, work, source, changed))
	}
	command := exec.Command("go", append(args, packages...)...)
	command.Dir = source
	command.Env = append(os.Environ(), "GOWORK=off")
	t.Logf("building %s of containerd %s", filepath.Base(bin), r.version)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	built[bin] = true
}

// built are the directories that this run has built already. Earlier runs' may be outdated: our
// part of them changes.
var built = map[string]bool{}

// requireOurs has the fork's go.mod name those of our modules that it imports.
func (r release) requireOurs(t testing.TB, work string, changed map[string]string) {
	t.Helper()
	bindings := filepath.Join(repository(t), "go-bindings")
	modules := map[string]string{"github.com/ocilayer/ocilayer/go-bindings": bindings}
	for _, text := range changed {
		// A fork that takes Apply alone gets none of what the plugin needs.
		modules[ourModule+"/archive"] = filepath.Join(bindings, "containerd", "archive")
		if strings.Contains(text, ourModule+"/plugin\"") {
			modules[ourModule] = filepath.Join(bindings, "containerd")
		}
	}
	args := []string{"mod", "edit"}
	sums := filepath.Join(work, "go.sum")
	for path, dir := range modules {
		args = append(args, "-require", path+"@v0.0.0", "-replace", path+"="+dir)
		if ours, err := os.ReadFile(filepath.Join(dir, "go.sum")); err == nil {
			appendTo(t, sums, ours)
		}
	}
	command := exec.Command("go", append(args, filepath.Join(work, "go.mod"))...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go mod edit: %v\n%s", err, out)
	}
}

func writeOverlay(t testing.TB, work, source string, changed map[string]string) string {
	t.Helper()
	replace := map[string]string{}
	for name, text := range changed {
		file := filepath.Join(work, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(source, name)] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return overlay
}

func copyInto(t testing.TB, dir string, files ...string) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func appendTo(t testing.TB, file string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.Write(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// differ builds the proxy differ.
func differ(t testing.TB) string {
	bin := target(t, "ocilayer-differ")
	if built[bin] {
		return bin
	}
	command := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./cmd/ocilayer-differ")
	command.Dir = filepath.Join(repository(t), "go-bindings", "containerd")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build ocilayer-differ: %v\n%s", err, out)
	}
	built[bin] = true
	return bin
}
