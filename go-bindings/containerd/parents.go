// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/lowerdir"
)

// refLabel has the chain ID that a snapshot will have when it is committed.
const refLabel = "containerd.io/snapshot.ref"

// parentLabel is where containerd 2.3 and later says what a snapshot is going to lie on, when it unpacks
// several layers at once: such a snapshot has no parent before it is committed.
const parentLabel = "containerd.io/snapshot/parent-chain-id"

const (
	// lookEvery is how often a snapshot is looked for whose apply somebody waits for.
	lookEvery = time.Second
	// lookAgain is after what time, and looksMax how often, a snapshot is looked for that is not there.
	lookAgain = 50 * time.Millisecond
	looksMax  = 100
	// forgetAfter is how long an apply is remembered that has ended: until its snapshot is committed.
	forgetAfter = time.Hour
)

// parents finds the directories below snapshots that containerd fills several at once, without a word about
// what they lie on, and knows which of them are complete.
type parents struct {
	snapshotter snapshots.Snapshotter
	// around is called for each wait; nil calls the wait alone.
	around func(ctx context.Context, wait func() error) error

	mu sync.Mutex
	// applies by directory, also of those that somebody waits for and that were not begun.
	applies map[string]*running
}

type running struct {
	done  chan struct{}
	err   error
	ended time.Time
}

// begin says that a directory is being filled, and is told how that ended.
func (p *parents) begin(directory string) (end func(error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for old, apply := range p.applies {
		if !apply.ended.IsZero() && time.Since(apply.ended) > forgetAfter {
			delete(p.applies, old)
		}
	}
	apply := p.applies[directory]
	if apply == nil || !apply.ended.IsZero() {
		apply = &running{done: make(chan struct{})}
		p.applies[directory] = apply
	}
	return func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		apply.err, apply.ended = err, time.Now()
		close(apply.done)
	}
}

func (p *parents) running(directory string) *running {
	p.mu.Lock()
	defer p.mu.Unlock()
	apply := p.applies[directory]
	if apply == nil {
		apply = &running{done: make(chan struct{})}
		p.applies[directory] = apply
	}
	return apply
}

// below finds what a directory that is about to be filled is going to lie on, topmost first; nil if
// containerd does not say. The directories are complete when the answer of the function is there.
func (p *parents) below(ctx context.Context, directory string) (func(context.Context) ([]string, error), error) {
	filled, err := p.filled(ctx)
	if err != nil {
		return nil, err
	}
	for _, own := range filled {
		if own.directory == directory && own.parent != "" {
			return func(ctx context.Context) (directories []string, err error) {
				wait := func() error {
					var err error
					directories, err = p.complete(ctx, own.parent)
					return err
				}
				// Not in one statement: which of the two would be evaluated first is not specified.
				if p.around == nil {
					err = wait()
				} else {
					err = p.around(ctx, wait)
				}
				return directories, err
			}, nil
		}
	}
	return nil, nil
}

// fill is a snapshot that is being filled.
type fill struct{ key, directory, parent string }

// filled has those of this namespace by the chain IDs that they will have.
func (p *parents) filled(ctx context.Context) (map[string]fill, error) {
	var infos []snapshots.Info
	err := p.snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		// Older containerds ignore filters.
		if info.Kind == snapshots.KindActive && info.Labels[refLabel] != "" {
			infos = append(infos, info)
		}
		return nil
	}, fmt.Sprintf("kind==active,labels.%q", refLabel))
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	filled := map[string]fill{}
	for _, info := range infos {
		mounts, err := p.snapshotter.Mounts(ctx, info.Name)
		if errdefs.IsNotFound(err) {
			// Committed or removed meanwhile.
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("mounts of snapshot %s: %w", info.Name, err)
		}
		if directory := filledDirectory(mounts); directory != "" {
			filled[info.Labels[refLabel]] = fill{info.Name, directory, info.Labels[parentLabel]}
		}
	}
	return filled, nil
}

// filledDirectory is what a snapshot's mounts write to; empty if that is no single directory.
func filledDirectory(mounts []mount.Mount) string {
	if len(mounts) != 1 {
		return ""
	}
	if mounts[0].Type == "bind" {
		return mounts[0].Source
	}
	return upperOf(mounts)
}

// complete waits until a chain is complete, and returns its directories, topmost first.
func (p *parents) complete(ctx context.Context, chain string) ([]string, error) {
	var directories []string
	looks := 0
	for chain != "" {
		below, committed, err := p.committed(ctx, chain)
		if err != nil {
			return nil, err
		}
		if committed {
			return append(directories, below...), nil
		}
		filled, err := p.filled(ctx)
		if err != nil {
			return nil, err
		}
		own, found := filled[chain]
		if !found {
			// A snapshot on its way from the one to the other is neither for a moment.
			if looks++; looks > looksMax {
				return nil, fmt.Errorf("the layer below, %s, is gone: %w", chain, errdefs.ErrFailedPrecondition)
			}
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(lookAgain):
			}
			continue
		}
		looks = 0
		if committed, err = p.wait(ctx, chain, own); err != nil {
			return nil, err
		}
		if !committed {
			directories, chain = append(directories, own.directory), own.parent
		}
	}
	return directories, nil
}

// wait waits until the apply of a snapshot has ended well, or it was committed without this process.
func (p *parents) wait(ctx context.Context, chain string, own fill) (committed bool, err error) {
	apply := p.running(own.directory)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-apply.done:
			if apply.err != nil {
				return false, fmt.Errorf("the layer below, %s: %w", chain, apply.err)
			}
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-tick.C:
		}
		// Its apply may never come here: somebody else made it, or gave it up.
		if _, err := p.snapshotter.Stat(ctx, own.key); err == nil || !errdefs.IsNotFound(err) {
			continue
		}
		if _, err := p.snapshotter.Stat(ctx, chain); err != nil {
			return false, fmt.Errorf("the layer below, %s, was given up: %w", chain, errdefs.ErrFailedPrecondition)
		}
		return true, nil
	}
}

// committed are the directories of a chain that is in its place, topmost first.
func (p *parents) committed(ctx context.Context, chain string) ([]string, bool, error) {
	if _, err := p.snapshotter.Stat(ctx, chain); errdefs.IsNotFound(err) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, err
	}
	// Only a view has mounts that name the directories. Nothing is mounted, and containerd's garbage
	// collection takes away what is left of it.
	key := fmt.Sprintf("ocilayer-parents-%d-%s", time.Now().UnixNano(), chain)
	mounts, err := p.snapshotter.View(ctx, key, chain)
	if err != nil {
		return nil, false, fmt.Errorf("view of %s: %w", chain, err)
	}
	if err := p.snapshotter.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
		return nil, false, fmt.Errorf("remove the view %s: %w", key, err)
	}
	directories := shown(mounts)
	if directories == nil {
		return nil, false, fmt.Errorf("a view of %s is no directory and no overlay: %w", chain, errdefs.ErrNotImplemented)
	}
	return directories, true, nil
}

// shown are the directories that a view's mounts show, topmost first; nil for other mounts.
func shown(mounts []mount.Mount) []string {
	if len(mounts) != 1 {
		return nil
	}
	if mounts[0].Type == "bind" {
		return []string{mounts[0].Source}
	}
	if mounts[0].Type == "overlay" {
		for _, option := range mounts[0].Options {
			if value, found := strings.CutPrefix(option, "lowerdir="); found {
				return lowerdir.Split(value)
			}
		}
	}
	return nil
}
