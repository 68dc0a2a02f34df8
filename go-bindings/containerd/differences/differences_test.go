// SPDX-License-Identifier: Apache-2.0

// Package differences holds archive.Apply against containerd's: the same archives through both, the trees
// compared. docs/differences.md says of each rule here why it is one.
package differences

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	stock "github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/archive"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/tree"
)

// stack is layers that are applied to one directory, bottom first.
type stack struct {
	name   string
	layers [][]byte
	// blob is the one layer as it was found, if that was compressed.
	blob []byte
}

// outcome is what one applier made of a stack: the layer that it refused, or none, and the tree.
type outcome struct {
	refused int
	err     error
	tree    tree.Tree
}

type apply func(root string, layer []byte) error

// byStock decompresses first, as containerd does.
func byStock(root string, layer []byte) error {
	plain, err := compression.DecompressStream(bytes.NewReader(layer))
	if err != nil {
		return err
	}
	defer plain.Close()
	if _, err = stock.Apply(context.Background(), root, plain); err != nil {
		return err
	}
	// As who wants the digest does.
	_, err = io.Copy(io.Discard, plain)
	return err
}

func byUs(root string, layer []byte) error {
	_, err := archive.Apply(context.Background(), root, bytes.NewReader(layer))
	return err
}

func run(t *testing.T, s stack, apply apply) outcome {
	t.Helper()
	root := t.TempDir()
	// As engines make it, so that the mode is the layer's business alone.
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	layers := s.layers
	if s.blob != nil {
		layers = [][]byte{s.blob}
	}
	for number, layer := range layers {
		if err := apply(root, layer); err != nil {
			return outcome{refused: number, err: err}
		}
	}
	read, err := tree.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return outcome{refused: -1, tree: read}
}

// tally is what came of all inputs.
type tally struct {
	tried, equal, refused int
	listed                map[string]int
}

func (c *tally) String() string {
	text := fmt.Sprintf("%d tried: %d equal, %d refused by both", c.tried, c.equal, c.refused)
	for _, rule := range rules {
		if n := c.listed[rule.name]; n > 0 {
			text += fmt.Sprintf("\n%6d differ: %s", n, rule.name)
		}
	}
	return text
}

// hold compares one stack, and fails the test where the two differ and no rule says why.
func (c *tally) hold(t *testing.T, s stack) {
	t.Helper()
	c.tried++
	theirs, ours := run(t, s, byStock), run(t, s, byUs)
	what := look(s)
	if theirs.err != nil || ours.err != nil {
		c.verdicts(t, s, what, ours.err, theirs.err)
		return
	}
	differs, listed := false, map[string]bool{}
	for _, d := range tree.Compare(theirs.tree, ours.tree) {
		if isTouchedDirectory(theirs.tree, d) {
			continue
		}
		differs = true
		name := reason(what, d)
		if name == "" {
			t.Errorf("%s: no rule for %s\n%s", s.name, d, what)
		}
		listed[name] = true
	}
	if !differs {
		c.equal++
	}
	for name := range listed {
		c.listed[name]++
	}
}

// verdicts compares two of which one at least has refused the stack.
func (c *tally) verdicts(t *testing.T, s stack, what features, ours, theirs error) {
	t.Helper()
	if ours != nil && theirs != nil {
		c.refused++
		return
	}
	for _, rule := range rules {
		if rule.verdict != nil && rule.verdict(what, ours, theirs) {
			c.listed[rule.name]++
			return
		}
	}
	t.Errorf("%s: no rule why ocilayer says %v, and stock %v\n%s", s.name, ours, theirs, what)
}

func reason(what features, d tree.Difference) string {
	for _, rule := range rules {
		if rule.differs != nil && rule.differs(what, d) {
			return rule.name
		}
	}
	return ""
}

// isTouchedDirectory says whether this is about the time of a directory: containerd leaves when it was
// written to, where no entry says another.
func isTouchedDirectory(theirs tree.Tree, d tree.Difference) bool {
	return d.Property == "mtime" && strings.HasPrefix(theirs[d.Path]["mode"], "04")
}

func TestThePageHasEveryRule(t *testing.T) {
	page, err := os.ReadFile("../../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		if !strings.Contains(string(page), "\n- "+rule.name) {
			t.Errorf("docs/differences.md lacks: %s", rule.name)
		}
	}
}

func TestEveryDifferenceIsListed(t *testing.T) {
	testneeds.Root(t)
	// Go's gzip, whatever is installed here.
	t.Setenv("CONTAINERD_DISABLE_PIGZ", "1")
	t.Setenv("CONTAINERD_DISABLE_IGZIP", "1")
	all := &tally{listed: map[string]int{}}
	for _, set := range []struct {
		name   string
		stacks []stack
	}{
		{"archives of the tests of Go", goTestdata(t)},
		{"archives with one oddity each", oddities()},
		{"archives of other projects' tests", found(t, "others")},
		{"layers of other builders and archivers", found(t, "packed")},
		{"compressed by other programs", found(t, "compressed")},
		{"stacks made at random", generated(t)},
	} {
		count := &tally{listed: map[string]int{}}
		for _, s := range set.stacks {
			count.hold(t, s)
		}
		fmt.Printf("%s: %s\n", set.name, count)
		for rule, n := range count.listed {
			all.listed[rule] += n
		}
	}
	for _, rule := range rules {
		if all.listed[rule.name] == 0 {
			t.Errorf("no input shows: %s", rule.name)
		}
	}
}
