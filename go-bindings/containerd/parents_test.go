// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

// chains are what a snapshotter is filled with: each lies on the one before.
type chains struct {
	parents
	t           *testing.T
	ctx         context.Context
	directories []string
}

// newChains prepares so many snapshots as containerd does that unpacks them at once.
func newChains(t *testing.T, names ...string) *chains {
	t.Helper()
	testneeds.Root(t)
	snapshotter, err := overlay.NewSnapshotter(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { snapshotter.Close() })
	c := &chains{parents: parents{snapshotter: snapshotter, applies: map[string]*running{}}, t: t, ctx: t.Context()}
	for i, name := range names {
		labels := map[string]string{refLabel: name}
		if i > 0 {
			labels[parentLabel] = names[i-1]
		}
		mounts, err := snapshotter.Prepare(c.ctx, "extract-"+name, "", snapshots.WithLabels(labels))
		if err != nil {
			t.Fatal(err)
		}
		c.directories = append(c.directories, filledDirectory(mounts))
	}
	return c
}

// asked finds what the last one is going to lie on.
func (c *chains) asked() chan error {
	c.t.Helper()
	later, err := c.below(c.ctx, c.directories[len(c.directories)-1])
	if err != nil || later == nil {
		c.t.Fatalf("parents are not known: %v", err)
	}
	answer := make(chan error, 1)
	go func() {
		got, err := later(c.ctx)
		want := slices.Clone(c.directories[:len(c.directories)-1])
		slices.Reverse(want)
		if err == nil && !slices.Equal(got, want) {
			err = errors.New("other directories: " + strings.Join(got, ":"))
		}
		answer <- err
	}()
	return answer
}

func TestParentsAreThereWhenTheirAppliesHaveEnded(t *testing.T) {
	c := newChains(t, "one", "two", "three")
	end := c.begin(c.directories[0])
	answer := c.asked()
	end(nil)
	c.begin(c.directories[1])(nil)
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if later, err := c.below(c.ctx, "/somewhere/else"); later != nil || err != nil {
		t.Errorf("what nobody fills has parents: %v", err)
	}
	if later, err := c.below(c.ctx, c.directories[0]); later != nil || err != nil {
		t.Errorf("the bottom has parents: %v", err)
	}
}

func TestParentsThatFailOrAreGivenUpEndTheWait(t *testing.T) {
	c := newChains(t, "one", "two")
	end := c.begin(c.directories[0])
	answer := c.asked()
	failed := errors.New("no space")
	end(failed)
	if err := <-answer; !errors.Is(err, failed) {
		t.Errorf("%v, and not %v", err, failed)
	}

	c = newChains(t, "one", "two")
	answer = c.asked()
	if err := c.snapshotter.Remove(c.ctx, "extract-one"); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err == nil || !strings.Contains(err.Error(), "given up") && !strings.Contains(err.Error(), "is gone") {
		t.Errorf("given up: %v", err)
	}

	c = newChains(t, "one", "two")
	var cancel context.CancelFunc
	c.ctx, cancel = context.WithCancel(c.ctx)
	answer = c.asked()
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestParentsThatSomebodyElseCommitsAreTaken(t *testing.T) {
	c := newChains(t, "one", "two", "three")
	answer := c.asked()
	for i, name := range []string{"one", "two"} {
		opts := []snapshots.Opt{}
		if i > 0 {
			opts = append(opts, snapshots.WithParent("one"))
		}
		if err := c.snapshotter.Commit(c.ctx, name, "extract-"+name, opts...); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-answer; err != nil {
		t.Error(err)
	}
}
