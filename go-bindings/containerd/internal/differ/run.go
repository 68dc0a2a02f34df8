// SPDX-License-Identifier: Apache-2.0

// Package differ is the daemon ocilayer-differ: containerd's diff service on a unix socket.
package differ

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/coreos/go-systemd/v22/daemon"
	"google.golang.org/grpc"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/blobs"
)

// headerTimeout ends connections to the metrics server that ask for nothing.
const headerTimeout = 10 * time.Second

// maxRequest is as large a request as containerd's own server takes.
const maxRequest = 16 << 20

// Run serves until ctx is done, and then until the applies that run by then are finished.
func Run(ctx context.Context, config *Config, stderr io.Writer) error {
	log, err := newLogger(config, stderr)
	if err != nil {
		return err
	}
	held, err := claimState(config.State)
	if err != nil {
		return err
	}
	defer held.Close()
	for id, p := range config.StreamProcessors {
		diff.RegisterProcessor(diff.BinaryHandler(id, p.Returns, p.Accepts, p.Path, p.Args, p.Env))
	}

	conn, err := blobs.Dial(config.Containerd)
	if err != nil {
		return err
	}
	defer conn.Close()
	store := blobs.New(conn, config.ContentRoot, log)
	metrics := newMetrics(filepath.Join(config.State, verification))
	snapshotter := snapshotsproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), parallelSnapshotter)
	service, err := newService(config, store, snapshotter, metrics, log)
	if err != nil {
		return err
	}
	stopMetrics, err := serveMetrics(config.Metrics, metrics, log)
	if err != nil {
		return err
	}
	defer stopMetrics()
	listener, address, err := listen(config.Address)
	if err != nil {
		return err
	}

	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxRequest))
	diffapi.RegisterDiffServer(server, service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("serving", "address", address, "roots", service.roots, "max_concurrent", config.MaxConcurrent)
	notify(log, daemon.SdNotifyReady)

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	notify(log, daemon.SdNotifyStopping)
	stop(server, time.Duration(config.StopTimeout), log)
	return nil
}

// claimState makes the state directory this daemon's own and removes what a killed predecessor
// left mounted there.
func claimState(state string) (*os.File, error) {
	mounts := filepath.Join(state, "mounts")
	if err := os.MkdirAll(mounts, 0o700); err != nil {
		return nil, err
	}
	held, err := lock(state)
	if err != nil {
		return nil, err
	}
	if err := mount.SetTempMountLocation(mounts); err != nil {
		held.Close()
		return nil, err
	}
	if _, err := mount.CleanupTempMounts(0); err != nil {
		held.Close()
		return nil, fmt.Errorf("mounts of an earlier run: %w", err)
	}
	return held, nil
}

// stop takes no new applies and waits for the running ones. What is not finished in time is
// cancelled: containerd reports it, and unpacks the layer anew when it is asked again.
func stop(server *grpc.Server, timeout time.Duration, log *slog.Logger) {
	log.Info("stopping: waiting for running applies", "timeout", timeout)
	finished := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(finished)
	}()
	select {
	case <-finished:
		log.Info("stopped")
	case <-time.After(timeout):
		log.Warn("stopping: cancelling applies that are still running")
		server.Stop()
		<-finished
	}
}

// parallelSnapshotter is the one whose layers containerd unpacks several at once.
const parallelSnapshotter = "overlayfs"

// verification is where deploy/ocilayer-verify.service has its figures written, below the state directory.
const verification = "verify.prom"

func serveMetrics(address string, metrics *metrics, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	server := &http.Server{Handler: metrics.handler(), ReadHeaderTimeout: headerTimeout}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics", "error", err)
		}
	}()
	log.Info("metrics", "address", listener.Addr())
	return func() { server.Close() }, nil
}

func newLogger(config *Config, to io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(config.LogLevel)); err != nil {
		return nil, fmt.Errorf("log_level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	switch config.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(to, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(to, options)), nil
	}
	return nil, fmt.Errorf("log_format: %q is not text or json", config.LogFormat)
}

func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd was not told", "state", state, "error", err)
	}
}
