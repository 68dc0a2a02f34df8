// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

var want = Wanted{Address: "/run/ocilayer/differ.sock", Snapshotter: "overlayfs", Version: 3}

const (
	proxy   = "[proxy_plugins.ocilayer]\n  type = 'diff'\n  address = '/run/ocilayer/differ.sock'\n"
	service = "[plugins.'io.containerd.service.v1.diff-service']\n  default = ['ocilayer', 'walking']\n"
	unpack  = "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\n  platform = 'linux/" + runtime.GOARCH + "'\n  snapshotter = 'overlayfs'\n  differ = 'ocilayer'\n"
)

func TestMissingLinesAreTheOnesThatAreNotThere(t *testing.T) {
	for _, c := range []struct{ name, config, missing string }{
		{"nothing is there", "", "version = 3\n" + proxy + service + unpack},
		{"only a version", "version = 2\n", proxy + service + unpack},
		{"all of it", "version = 3\n" + proxy + service + unpack, ""},
		{"no unpack_config", "version = 3\n" + proxy + service, unpack},
		{"no order of differs", "version = 3\n" + proxy + unpack, service},
		{"another socket", "version = 3\n" + strings.Replace(proxy, "/run/", "/tmp/", 1) + service + unpack, proxy},
		{"another kind of plugin", "version = 3\n" + strings.Replace(proxy, "'diff'", "'snapshot'", 1) + service + unpack, proxy},
		{"another snapshotter", "version = 3\n" + proxy + service + strings.Replace(unpack, "overlayfs", "native", 1), unpack},
		{
			"another name of its own",
			"version = 3\n" + strings.NewReplacer("ocilayer]", "fast]").Replace(proxy) + service,
			"[plugins.'io.containerd.service.v1.diff-service']\n  default = ['fast', 'ocilayer', 'walking']\n" + strings.Replace(unpack, "'ocilayer'", "'fast'", 1),
		},
		{"second in the order", "version = 3\n" + proxy + unpack + strings.Replace(service, "'ocilayer', 'walking'", "'walking', 'ocilayer'", 1), service},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.toml")
			write(t, file, c.config)
			config, err := Read(file)
			if err != nil {
				t.Fatal(err)
			}
			if missing := config.Missing(want); missing != c.missing {
				t.Errorf("missing:\n%s\nexpected:\n%s", missing, c.missing)
			}
		})
	}
}

func TestAddingTheMissingLinesCompletesTheConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	config, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, config.Missing(want))
	if config, err = Read(file); err != nil {
		t.Fatal(err)
	}
	if still := config.Missing(want); still != "" {
		t.Errorf("still missing:\n%s", still)
	}
}

func TestImportedFilesCount(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	write(t, file, "version = 3\nimports = ['conf.d/*.toml']\n"+service)
	write(t, filepath.Join(dir, "conf.d", "a.toml"), proxy)
	write(t, filepath.Join(dir, "conf.d", "b.toml"), unpack)
	config, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if missing := config.Missing(want); missing != "" {
		t.Errorf("missing:\n%s", missing)
	}
}

func TestDamagedConfigurationIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	write(t, file, "version = = 3\n")
	if _, err := Read(file); err == nil {
		t.Error("it was read")
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
