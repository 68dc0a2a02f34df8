// SPDX-License-Identifier: Apache-2.0

// Package setup tells whether containerd's configuration uses ocilayer-differ, and what is missing.
package setup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Configuration is containerd's, with what it imports.
type Configuration struct {
	values map[string]any
	// Version is what the file says it is; 0 if there is none.
	Version int
}

// Read reads containerd's configuration. A file that is missing is an empty one, as for containerd.
func Read(file string) (*Configuration, error) {
	values, err := readFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return &Configuration{values: map[string]any{}}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, pattern := range listAt(values, "imports") {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(file), pattern)
		}
		names, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("imports %q: %w", pattern, err)
		}
		for _, name := range names {
			imported, err := readFile(name)
			if err != nil {
				return nil, err
			}
			merge(values, imported)
		}
	}
	version, _ := values["version"].(int64)
	return &Configuration{values: values, Version: int(version)}, nil
}

func readFile(file string) (map[string]any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := toml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return values, nil
}

// merge puts what is in from over what is in into: tables join, everything else is replaced.
func merge(into, from map[string]any) {
	for key, value := range from {
		table, isTable := value.(map[string]any)
		old, wasTable := into[key].(map[string]any)
		if isTable && wasTable {
			merge(old, table)
			continue
		}
		into[key] = value
	}
}

// Wanted is what a configuration must have.
type Wanted struct {
	// Address is the differ's socket.
	Address string
	// Snapshotter is whose snapshots it fills.
	Snapshotter string
	// Version is written where the configuration names none.
	Version int
}

// The tables that decide. Their names have been the same since 1.7.
const (
	diffService     = "io.containerd.service.v1.diff-service"
	transferService = "io.containerd.transfer.v1.local"
	// usualID is the differ's name where the configuration has not given it one.
	usualID = "ocilayer"
)

// Missing are the lines to add to a configuration, empty if it is complete.
func (c *Configuration) Missing(want Wanted) string {
	var missing strings.Builder
	id := c.proxyID(want.Address)
	if id == "" {
		id = usualID
		fmt.Fprintf(&missing, "[proxy_plugins.%s]\n  type = 'diff'\n  address = '%s'\n", id, want.Address)
	}
	if order := listAt(c.values, "plugins", diffService, "default"); len(order) == 0 || order[0] != id {
		order = slices.DeleteFunc(order, func(other string) bool { return other == id })
		if len(order) == 0 {
			order = []string{"walking"}
		}
		fmt.Fprintf(&missing, "[plugins.'%s']\n  default = ['%s']\n", diffService, strings.Join(append([]string{id}, order...), "', '"))
	}
	if !c.unpacksWith(id, want.Snapshotter) {
		fmt.Fprintf(&missing, "[[plugins.'%s'.unpack_config]]\n  platform = 'linux/%s'\n  snapshotter = '%s'\n  differ = '%s'\n",
			transferService, runtime.GOARCH, want.Snapshotter, id)
	}
	if missing.Len() > 0 && c.Version == 0 {
		return fmt.Sprintf("version = %d\n%s", want.Version, missing.String())
	}
	return missing.String()
}

// proxyID is the name under which the socket is known; empty if it is not.
func (c *Configuration) proxyID(address string) string {
	proxies := tableAt(c.values, "proxy_plugins")
	for _, id := range slices.Sorted(maps.Keys(proxies)) {
		proxy, _ := proxies[id].(map[string]any)
		if proxy["type"] == "diff" && proxy["address"] == address {
			return id
		}
	}
	return ""
}

func (c *Configuration) unpacksWith(id, snapshotter string) bool {
	entries, _ := tableAt(c.values, "plugins", transferService)["unpack_config"].([]any)
	for _, entry := range entries {
		unpack, _ := entry.(map[string]any)
		platform, _ := unpack["platform"].(string)
		if unpack["differ"] == id && unpack["snapshotter"] == snapshotter && strings.HasPrefix(platform, "linux") {
			return true
		}
	}
	return false
}

func tableAt(values map[string]any, path ...string) map[string]any {
	for _, key := range path {
		values, _ = values[key].(map[string]any)
	}
	return values
}

func listAt(values map[string]any, path ...string) []string {
	last := len(path) - 1
	items, _ := tableAt(values, path[:last]...)[path[last]].([]any)
	var list []string
	for _, item := range items {
		if text, ok := item.(string); ok {
			list = append(list, text)
		}
	}
	return list
}
