// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	applier "github.com/ocilayer/ocilayer/go-bindings/containerd"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/blobs"
)

// service is containerd's diff service.
type service struct {
	diffapi.UnimplementedDiffServer
	log     *slog.Logger
	applier diff.Applier
	roots   roots
	metrics *metrics
	// slots has one place for each layer that may be applied at once.
	slots chan struct{}
}

func newService(config *Config, store *blobs.Store, snapshotter snapshots.Snapshotter, metrics *metrics, log *slog.Logger) (*service, error) {
	roots, err := newRoots(config.Roots)
	if err != nil {
		return nil, err
	}
	s := &service{log: log, roots: roots, metrics: metrics, slots: make(chan struct{}, config.MaxConcurrent)}
	options := []applier.Option{
		applier.WithBlobFile(store.File),
		applier.WithSync(syncs[config.Sync]),
		applier.WithThreads(config.Threads),
		applier.WithLimits(config.Limits),
		applier.WithObserver(s.observe),
	}
	if snapshotter != nil {
		options = append(options, applier.WithSnapshotter(snapshotter, s.pause))
	}
	s.applier = applier.NewApplier(store, options...)
	return s, nil
}

// Apply applies one layer. NotImplemented is never its answer: only one of the two ways into
// containerd would try another differ then.
func (s *service) Apply(ctx context.Context, request *diffapi.ApplyRequest) (response *diffapi.ApplyResponse, err error) {
	// One request must not end the daemon, and with it all others. The translation of errors is in here,
	// too: it calls methods of whatever error there is.
	defer func() {
		if panicked := recover(); panicked != nil {
			s.log.Error("panic", "error", panicked, "stack", string(debug.Stack()))
			failed := fmt.Errorf("%w: panic: %v", ocilayer.ErrPanic, panicked)
			s.metrics.applied(nil, failed)
			response, err = nil, status.Error(codes.Internal, failed.Error())
		}
	}()
	applied, err := s.apply(ctx, request)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &diffapi.ApplyResponse{Applied: oci.DescriptorToProto(applied)}, nil
}

func (s *service) apply(ctx context.Context, request *diffapi.ApplyRequest) (applied ocispec.Descriptor, err error) {
	if request.Diff == nil {
		return ocispec.Descriptor{}, fmt.Errorf("a request without a layer: %w", errdefs.ErrInvalidArgument)
	}
	mounts := mount.FromProto(request.Mounts)
	if err := s.roots.check(mounts); err != nil {
		s.log.Error("refused", "digest", request.Diff.Digest, "error", err)
		s.metrics.refused()
		return ocispec.Descriptor{}, err
	}
	var own slot
	if own.leave, err = s.enter(ctx); err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { own.leave() }()
	ctx = context.WithValue(ctx, slotKey{}, &own)
	// What came in with the request has to go out with the questions to containerd.
	if namespace, ok := namespaces.Namespace(ctx); ok {
		ctx = namespaces.WithNamespace(ctx, namespace)
	}
	payloads := make(map[string]typeurl.Any, len(request.Payloads))
	for id, payload := range request.Payloads {
		payloads[id] = payload
	}
	return s.applier.Apply(ctx, oci.DescriptorFromProto(request.Diff), mounts,
		diff.WithPayloads(payloads), diff.WithSyncFs(request.SyncFs))
}

// enter waits for a slot, and says how to leave it.
func (s *service) enter(ctx context.Context) (leave func(), err error) {
	s.metrics.waiting.Inc()
	defer s.metrics.waiting.Dec()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.metrics.running.Inc()
	return func() {
		s.metrics.running.Dec()
		<-s.slots
	}, nil
}

// slot is that of one apply, while it has one.
type slot struct{ leave func() }

type slotKey struct{}

// pause gives an apply's slot to others while it waits: what it waits for may need one.
func (s *service) pause(ctx context.Context, wait func() error) error {
	own, ok := ctx.Value(slotKey{}).(*slot)
	if !ok {
		return wait()
	}
	own.leave()
	own.leave = func() {}
	err := wait()
	if err != nil {
		return err
	}
	leave, err := s.enter(ctx)
	if err == nil {
		own.leave = leave
	}
	return err
}

// Diff says that it is not implemented, and containerd's next differ writes the layer.
func (s *service) Diff(context.Context, *diffapi.DiffRequest) (*diffapi.DiffResponse, error) {
	return nil, errgrpc.ToGRPC(errdefs.ErrNotImplemented.WithMessage("ocilayer-differ applies layers and writes none"))
}

func (s *service) observe(desc ocispec.Descriptor, report *ocilayer.Report, err error) {
	s.metrics.applied(report, err)
	log := s.log.With("digest", desc.Digest, "size", desc.Size, "media_type", desc.MediaType)
	if report != nil {
		log = log.With("took", report.Wall.Round(time.Millisecond), "entries", report.Entries.Total, "layer_bytes", report.LayerBytes)
		for _, skipped := range report.Skipped {
			log.Debug("left out", "reason", skipped.Text, "count", skipped.Count)
		}
	}
	if err != nil {
		log.Error("layer not applied", "error", err)
		return
	}
	log.Info("layer applied", "diff_id", report.DiffID)
}
