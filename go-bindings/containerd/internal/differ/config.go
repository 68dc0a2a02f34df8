// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// Config is what the daemon is told, by its file and then by its flags.
type Config struct {
	// Address is the unix socket that containerd connects to.
	Address string `toml:"address"`
	// Containerd is containerd's own socket.
	Containerd string `toml:"containerd"`
	// Roots are the directories that layers may be applied below.
	Roots []string `toml:"roots"`
	// ContentRoot is the local content store; containerd is asked where it is if this is empty.
	ContentRoot string `toml:"content_root"`
	// State holds temporary mounts and the lock.
	State string `toml:"state"`
	// MaxConcurrent layers are applied at once, further ones wait; 0 stands for the number of CPUs.
	MaxConcurrent int `toml:"max_concurrent"`
	// Threads works on one layer; 0 goes by the number of CPUs.
	Threads uint32 `toml:"threads"`
	// Limits bound one layer; what is not there or 0 is the default.
	Limits ocilayer.Limits `toml:"limits"`
	// Sync is "none", "files" or "filesystem".
	Sync string `toml:"sync"`
	// Metrics is the address of the HTTP server for Prometheus; none if it is empty.
	Metrics string `toml:"metrics"`
	// StopTimeout is how long a stop waits for running applies before it cancels them.
	StopTimeout Duration `toml:"stop_timeout"`
	// LogLevel is "debug", "info", "warn" or "error".
	LogLevel string `toml:"log_level"`
	// LogFormat is "text" or "json".
	LogFormat string `toml:"log_format"`
	// StreamProcessors are containerd's, for layers of further media types.
	StreamProcessors map[string]StreamProcessor `toml:"stream_processors"`
}

// StreamProcessor has the fields of containerd's stream_processors table.
type StreamProcessor struct {
	Accepts []string `toml:"accepts"`
	Returns string   `toml:"returns"`
	Path    string   `toml:"path"`
	Args    []string `toml:"args"`
	Env     []string `toml:"env"`
}

// Duration is a time.Duration that a file and a flag write as "1m30s".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Set is UnmarshalText for flags.
func (d *Duration) Set(text string) error { return d.UnmarshalText([]byte(text)) }

func (d *Duration) String() string { return time.Duration(*d).String() }

// DefaultConfigFile is read where no --config says otherwise; it may be missing.
const DefaultConfigFile = "/etc/ocilayer/differ.toml"

// DefaultAddress is the socket in docs/containerd.md and in the units below deploy/.
const DefaultAddress = "/run/ocilayer/differ.sock"

// defaultStopTimeout stays below the 90 s that systemd gives a unit before it kills it.
const defaultStopTimeout = 80 * time.Second

func defaults() Config {
	return Config{
		Address:     DefaultAddress,
		Containerd:  "/run/containerd/containerd.sock",
		Roots:       []string{"/var/lib/containerd"},
		State:       "/run/ocilayer",
		Sync:        "none",
		StopTimeout: Duration(defaultStopTimeout),
		LogLevel:    "info",
		LogFormat:   "text",
	}
}

// ReadConfig takes the defaults, then the configuration file, then args. What is left of args is
// an error.
func ReadConfig(name string, args []string) (*Config, error) {
	file := DefaultConfigFile
	config := defaults()
	// Twice: the first time for the file's name, the second time over what the file says.
	flags := config.flags(name, &file)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	named := false
	flags.Visit(func(f *flag.Flag) { named = named || f.Name == "config" })
	config = defaults()
	if err := config.readFile(file, named); err != nil {
		return nil, err
	}
	if err := config.flags(name, &file).Parse(args); err != nil {
		return nil, err
	}
	return &config, config.complete()
}

func (c *Config) flags(name string, file *string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.StringVar(file, "config", *file, "configuration file, in TOML, with these flags' names as keys")
	f.StringVar(&c.Address, "address", c.Address, "unix socket to serve")
	f.StringVar(&c.Containerd, "containerd", c.Containerd, "containerd's socket")
	f.Var(&list{values: &c.Roots}, "root", "directory that layers may be applied below; may be repeated (key: roots)")
	f.StringVar(&c.ContentRoot, "content-root", c.ContentRoot, "local content store; empty asks containerd (key: content_root)")
	f.StringVar(&c.State, "state", c.State, "directory for temporary mounts")
	f.IntVar(&c.MaxConcurrent, "max-concurrent", c.MaxConcurrent, "layers applied at once; 0: as many as CPUs (key: max_concurrent)")
	f.Func("threads", "worker threads for one layer; 0: by the number of CPUs", func(s string) error {
		_, err := fmt.Sscan(s, &c.Threads)
		return err
	})
	f.Func("limit", "limit on one layer, as NAME=NUMBER; may be repeated (table: limits)", c.setLimit)
	f.StringVar(&c.Sync, "sync", c.Sync, "what is on disk when a layer is reported: none, files, filesystem")
	f.StringVar(&c.Metrics, "metrics", c.Metrics, "address for Prometheus metrics, such as 127.0.0.1:9477; empty: none")
	f.Var(&c.StopTimeout, "stop-timeout", "how long a stop waits for running applies (key: stop_timeout)")
	f.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error (key: log_level)")
	f.StringVar(&c.LogFormat, "log-format", c.LogFormat, "text or json (key: log_format)")
	return f
}

// setLimit takes what a line of the file's table limits says.
func (c *Config) setLimit(text string) error {
	if !strings.Contains(text, "=") {
		return errors.New("no NAME=NUMBER")
	}
	return toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields().Decode(&c.Limits)
}

// list is a flag that replaces what the file said when it is first given, and adds from then on.
type list struct {
	values *[]string
	given  bool
}

func (l *list) String() string {
	if l.values == nil {
		return ""
	}
	return strings.Join(*l.values, ",")
}

func (l *list) Set(value string) error {
	if !l.given {
		*l.values = nil
	}
	l.given = true
	*l.values = append(*l.values, value)
	return nil
}

func (c *Config) readFile(file string, named bool) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	// A misspelt key would leave a default in force that the operator believes changed.
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(c); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return fmt.Errorf("%s: unknown key:\n%s", file, strict.String())
		}
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

var syncs = map[string]ocilayer.Sync{
	"none":       ocilayer.SyncNone,
	"files":      ocilayer.SyncFiles,
	"filesystem": ocilayer.SyncFilesystem,
}

func (c *Config) complete() error {
	if _, ok := syncs[c.Sync]; !ok {
		return fmt.Errorf("sync: %q is not none, files or filesystem", c.Sync)
	}
	if c.MaxConcurrent < 0 {
		return fmt.Errorf("max_concurrent: %d is negative", c.MaxConcurrent)
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = runtime.NumCPU()
	}
	if len(c.Roots) == 0 {
		return errors.New("roots: none given, so no layer could be applied anywhere")
	}
	for _, root := range append([]string{c.Address, c.Containerd, c.State}, c.Roots...) {
		if !filepath.IsAbs(root) {
			return fmt.Errorf("%q is not an absolute path", root)
		}
	}
	return nil
}
