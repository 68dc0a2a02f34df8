// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	applier "github.com/ocilayer/ocilayer/go-bindings/containerd"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

// slow is an applier that says when it begins and waits to be told to end.
type slow struct {
	begun, end chan struct{}
}

func (s slow) Apply(context.Context, ocispec.Descriptor, []mount.Mount, ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	s.begun <- struct{}{}
	<-s.end
	return ocispec.Descriptor{}, nil
}

func newTestService(t *testing.T, applier diff.Applier, slots int) (*service, *diffapi.ApplyRequest) {
	t.Helper()
	root := t.TempDir()
	roots, err := newRoots([]string{root})
	if err != nil {
		t.Fatal(err)
	}
	request := &diffapi.ApplyRequest{Diff: oci.DescriptorToProto(ocispec.Descriptor{}), Mounts: mount.ToProto([]mount.Mount{{Type: "bind", Source: root}})}
	return &service{
		log: slog.New(slog.NewTextHandler(io.Discard, nil)), applier: applier, roots: roots,
		metrics: newMetrics(""), slots: make(chan struct{}, slots),
	}, request
}

func TestNoMoreLayersThanAllowedAreAppliedAtOnce(t *testing.T) {
	applier := slow{make(chan struct{}), make(chan struct{})}
	s, request := newTestService(t, applier, 2)
	done := make(chan error)
	for range 3 {
		go func() {
			_, err := s.Apply(context.Background(), request)
			done <- err
		}()
	}
	<-applier.begun
	<-applier.begun
	// The third cannot have begun: both slots are taken by applies that have not been told to end.
	if free := cap(s.slots) - len(s.slots); free != 0 {
		t.Errorf("%d slots are free", free)
	}
	select {
	case <-applier.begun:
		t.Error("a third apply has begun")
	default:
	}
	applier.end <- struct{}{}
	<-applier.begun
	close(applier.end)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestRequestThatIsGivenUpWhileItWaitsLeavesTheQueue(t *testing.T) {
	s, request := newTestService(t, nil, 0)
	cause := errors.New("gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := s.apply(ctx, request); !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}

func TestRequestWithoutALayerIsRefused(t *testing.T) {
	s, request := newTestService(t, nil, 1)
	request.Diff = nil
	if _, err := s.apply(context.Background(), request); !errdefs.IsInvalidArgument(err) {
		t.Errorf("error %v", err)
	}
}

func TestMalformedDigestsAreRefused(t *testing.T) {
	s, request := newTestService(t, applier.NewApplier(panics{at: "never"}), 1)
	for _, malformed := range []string{"", ":", "sha256", "sha256:", "sha256:zz", "sha256:../../x"} {
		request.Diff = &types.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: malformed}
		// Not by the way that turns panics into errors.
		if _, err := s.apply(context.Background(), request); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: error %v", malformed, err)
		}
		if _, err := s.Apply(context.Background(), request); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%q: error %v over the wire", malformed, err)
		}
	}
}

// panics is a provider of an empty layer, whose method of this name panics.
type panics struct{ at string }

func (p panics) in(name string) {
	if p.at == name {
		panic("in " + name)
	}
}

func (p panics) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	p.in("ReaderAt")
	return p, nil
}

// ReadAt is called by a goroutine of the library's own.
func (p panics) ReadAt([]byte, int64) (int, error) {
	p.in("ReadAt")
	return 0, io.EOF
}

func (p panics) Size() int64 {
	p.in("Size")
	return 1
}

func (p panics) Close() error {
	p.in("Close")
	return nil
}

func TestPanicInARequestIsItsErrorAndTheServiceGoesOn(t *testing.T) {
	testneeds.Root(t)
	s, request := newTestService(t, nil, 1)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(nil)}
	request.Diff = oci.DescriptorToProto(desc)
	for _, at := range []string{"ReaderAt", "ReadAt", "Size", "Close"} {
		s.applier = applier.NewApplier(panics{at})
		if _, err := s.Apply(context.Background(), request); err == nil || !strings.Contains(err.Error(), "in "+at) {
			t.Errorf("%s: error %v", at, err)
		}
		if len(s.slots) != 0 {
			t.Fatalf("%s: the slot is still taken", at)
		}
		s.applier = applier.NewApplier(panics{"never"})
		if _, err := s.Apply(context.Background(), request); err != nil {
			t.Errorf("after %s: %v", at, err)
		}
	}
	answer := httptest.NewRecorder()
	s.metrics.handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{`layers_total{result="failed"} 3`, `errors_total{kind="panic"} 3`, `running 0`, `waiting 0`} {
		if !strings.Contains(answer.Body.String(), "ocilayer_differ_"+line+"\n") {
			t.Errorf("no %s in\n%s", line, answer.Body)
		}
	}
}

// hollow says that it wraps an error, and has none.
type hollow struct{}

func (hollow) Error() string { return "hollow" }
func (hollow) Unwrap() error { return nil }

type failing struct{ err error }

func (f failing) Apply(context.Context, ocispec.Descriptor, []mount.Mount, ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, f.err
}

// As of errdefs 0.3.0, its translation panics here.
func TestErrorThatCannotBeTranslatedDoesNotEndTheService(t *testing.T) {
	s, request := newTestService(t, failing{errors.Join(errors.New("one"), hollow{})}, 1)
	for range 2 {
		if _, err := s.Apply(context.Background(), request); err == nil {
			t.Error("no error")
		}
	}
}

func TestDiffIsNotImplementedSoThatTheNextDifferWritesTheLayer(t *testing.T) {
	s, _ := newTestService(t, nil, 1)
	_, err := s.Diff(context.Background(), &diffapi.DiffRequest{})
	if !errdefs.IsNotImplemented(errgrpc.ToNative(err)) {
		t.Errorf("error %v", err)
	}
}

func TestMetricsCountLayersBytesStagesAndKindsOfErrors(t *testing.T) {
	verified := filepath.Join(t.TempDir(), "verify.prom")
	if err := os.WriteFile(verified, []byte("# TYPE ocilayer_verify_findings gauge\nocilayer_verify_findings{kind=\"missing\"} 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := newMetrics(verified)
	m.applied(&ocilayer.Report{BlobBytes: 5, LayerBytes: 7, FileBytes: 3, Decompress: 2e9, Wall: 1e9,
		Skipped: []ocilayer.Skipped{{Text: "device", Count: 4}}}, nil)
	m.applied(nil, fmt.Errorf("layer: %w", ocilayer.ErrCorrupt))
	m.applied(nil, errors.New("no blob"))
	m.applied(nil, context.Canceled)
	m.refused()
	answer := httptest.NewRecorder()
	m.handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if of := "ocilayer_verify_findings{kind=\"missing\"} 3\n"; !strings.Contains(answer.Body.String(), of) {
		t.Errorf("no %s in\n%s", of, answer.Body)
	}
	for _, line := range []string{
		`layers_total{result="applied"} 1`, `layers_total{result="failed"} 3`, `layers_total{result="refused"} 1`,
		`bytes_total{of="blob"} 5`, `bytes_total{of="layer"} 7`, `bytes_total{of="files"} 3`,
		`stage_seconds_total{stage="decompress"} 2`, `skipped_total{reason="device"} 4`,
		`errors_total{kind="corrupt"} 1`, `errors_total{kind="containerd"} 1`, `errors_total{kind="cancelled"} 1`,
		`apply_seconds_count 1`,
	} {
		if !strings.Contains(answer.Body.String(), "ocilayer_differ_"+line+"\n") {
			t.Errorf("no %s in\n%s", line, answer.Body)
		}
	}
}

func TestMountsOfAKilledPredecessorAreRemoved(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI needs root, which is missing")
		}
		fmt.Fprintf(os.Stderr, "SKIPPED %s: needs root\n", t.Name())
		t.SkipNow()
	}
	state := t.TempDir()
	left := filepath.Join(state, "mounts", "containerd-mount123")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", left, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(left, syscall.MNT_DETACH) })
	held, err := claimState(state)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), left) {
		t.Errorf("still mounted, %v", err)
	}
	if _, err := claimState(state); err == nil {
		t.Error("the state directory has two owners")
	}
}
