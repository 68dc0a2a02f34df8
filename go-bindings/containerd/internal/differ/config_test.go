// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

func TestFlagsGoBeforeTheFileAndTheFileBeforeDefaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "differ.toml")
	text := "roots = ['/a', '/b']\nsync = 'files'\nmax_concurrent = 3\nstop_timeout = '5s'\n" +
		"[limits]\nentries = 7\npath_depth = 9\n[stream_processors.x]\naccepts = ['a']\nreturns = 'b'\npath = '/bin/x'\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig("test", []string{"--config", file, "--sync", "none", "--root", "/c", "--root", "/d", "--threads", "2",
		"--limit", "entries=8", "--limit", "ratio=5"})
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Roots, want.MaxConcurrent, want.StopTimeout, want.Threads = []string{"/c", "/d"}, 3, Duration(5*time.Second), 2
	want.Limits = ocilayer.Limits{Entries: 8, Ratio: 5, PathDepth: 9}
	want.StreamProcessors = map[string]StreamProcessor{"x": {Accepts: []string{"a"}, Returns: "b", Path: "/bin/x"}}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("%+v\nnot\n%+v", *got, want)
	}
}

func TestConfigurationThatIsWrongIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, text string
		args       []string
		says       string
	}{
		{"a misspelt key", "max_concurent = 3", nil, "max_concurent"},
		{"an unknown way to sync", "sync = 'twice'", nil, "twice"},
		{"a negative number", "max_concurrent = -1", nil, "negative"},
		{"no roots", "roots = []", nil, "roots"},
		{"a relative root", "roots = ['containerd']", nil, "absolute"},
		{"an unknown limit", "[limits]\nentry = 5", nil, "entry"},
		{"an unknown limit in a flag", "", []string{"--limit", "entry=5"}, "entry"},
		{"a limit without a number", "", []string{"--limit", "entries"}, "NAME=NUMBER"},
		{"no duration", "stop_timeout = 'soon'", nil, "soon"},
		{"not TOML", "sync", nil, "differ.toml"},
		{"an argument too many", "", []string{"now"}, "now"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "differ.toml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := ReadConfig("test", append([]string{"--config", file}, c.args...))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %q", err, c.says)
			}
		})
	}
}

func TestFileThatIsNamedMustExist(t *testing.T) {
	if _, err := ReadConfig("test", []string{"--config", "/nowhere/differ.toml"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// The shipped file says of itself that it has the defaults.
func TestShippedFileHasTheDefaults(t *testing.T) {
	shipped := defaults()
	if err := shipped.readFile("../../../../deploy/differ.toml", true); err != nil {
		t.Fatal(err)
	}
	if want := defaults(); !reflect.DeepEqual(shipped, want) {
		t.Errorf("%+v\nnot\n%+v", shipped, want)
	}
	text, err := os.ReadFile("../../../../deploy/differ.toml")
	if err != nil {
		t.Fatal(err)
	}
	fields := reflect.TypeFor[Config]()
	for i := range fields.NumField() {
		key := fields.Field(i).Tag.Get("toml")
		named := strings.Contains(string(text), "\n"+key+" = ") || strings.Contains(string(text), "\n["+key+"]\n")
		if key != "stream_processors" && !named {
			t.Errorf("it lacks %s", key)
		}
	}
}
