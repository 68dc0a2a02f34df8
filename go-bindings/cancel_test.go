// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

func TestContextsCauseComesBackFromAStuckRead(t *testing.T) {
	needsRoot(t)
	cause := errors.New("node is draining")
	blob := large(t)
	begin := bytes.NewReader(blob[:len(blob)/2])
	for name, source := range map[string]func(cancel func()) (io.Reader, func()){
		"reader": func(cancel func()) (io.Reader, func()) {
			released := make(chan struct{})
			stuck := readerFunc(func([]byte) (int, error) { cancel(); <-released; return 0, io.EOF })
			return io.MultiReader(begin, stuck), func() { close(released) }
		},
		"pipe": func(cancel func()) (io.Reader, func()) {
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			go cancel()
			return read, func() { write.Close(); read.Close() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			reader, release := source(func() { cancel(cause) })
			report, err := ocilayer.Unpack(ctx, t.TempDir(), reader)
			release()
			if !errors.Is(err, cause) || !errors.Is(err, ocilayer.ErrCancelled) {
				t.Error(err)
			}
			if report != nil && !report.Partial {
				t.Errorf("report: %+v", report)
			}
		})
	}
}

func TestEndedContextBeginsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ocilayer.Unpack(ctx, t.TempDir(), bytes.NewReader(nil)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := ocilayer.CheckOverlayOpaquePropagation(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	expired, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	if _, err := ocilayer.Unpack(expired, t.TempDir(), bytes.NewReader(nil)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// settled waits for goroutines that have done their work and are about to end.
func settled(t *testing.T, goroutines int) {
	t.Helper()
	for start := time.Now(); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Since(start) > time.Minute {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), goroutines,
				stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func TestTwoHundredUnpacksAtOnceLeaveNothingBehind(t *testing.T) {
	needsRoot(t)
	good := layer(t, file{"a/", ""}, file{"a/b", "1"}, file{"c", "2"})
	bad := layer(t, file{"a", "1"}, file{"../b", "2"})
	stuck, release := context.WithCancel(context.Background())
	defer release()
	one := func(i int, root string) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		blob := good
		var want error
		if i%4 == 3 {
			blob, want = bad, ocilayer.ErrLayer
		}
		var reader io.Reader = bytes.NewReader(blob)
		switch i % 3 {
		case 0:
			reader = struct{ io.Reader }{reader}
		case 1:
			want = context.Canceled
			reader = readerFunc(func([]byte) (int, error) { cancel(); <-stuck.Done(); return 0, io.EOF })
		}
		if _, err := ocilayer.Unpack(ctx, root, reader, ocilayer.WithThreads(uint32(i%5))); !errors.Is(err, want) {
			t.Errorf("%d: %v", i, err)
		}
	}
	round := func() {
		var all sync.WaitGroup
		for i := range 200 {
			root := t.TempDir()
			all.Add(1)
			go func() {
				defer all.Done()
				one(i, root)
			}()
		}
		all.Wait()
	}
	goroutines := runtime.NumGoroutine()
	// The first round makes what the runtime keeps, its poller for one.
	round()
	open := descriptors(t)
	round()
	if now := descriptors(t); now > open {
		t.Errorf("%d descriptors, before %d", now, open)
	}
	release()
	settled(t, goroutines)
}
