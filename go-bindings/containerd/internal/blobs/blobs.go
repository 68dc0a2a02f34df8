// SPDX-License-Identifier: Apache-2.0

// Package blobs reads the blobs of a running containerd.
package blobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/blobfile"
)

// Store reads blobs: from the content store's files where they can be seen, else
// from containerd's content service.
type Store struct {
	log      *slog.Logger
	conn     *grpc.ClientConn
	provider content.Provider
	// find serialises the questions about where the store is. What was asked in vain is asked
	// again: containerd may start after its differ.
	find  sync.Mutex
	root  string
	asked time.Time
}

// askAgain is how long an unanswered question about the store's root rests: a moment beside an
// image pull, and an eternity beside the question itself.
const askAgain = 10 * time.Second

// Dial is a connection to the containerd that serves a unix socket. It is made when it is needed.
func Dial(socket string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", socket, err)
	}
	return conn, nil
}

// New is the store of the containerd behind conn, which stays the caller's to close. root is the content
// store's directory; if it is empty, containerd is asked.
func New(conn *grpc.ClientConn, root string, log *slog.Logger) *Store {
	return &Store{log: log, conn: conn, provider: contentproxy.NewContentStore(conn), root: root}
}

// ReaderAt reads a blob in the request's namespace. Some of containerd's own calls carry none:
// then the first namespace that has the blob will do, for its digest is its content.
func (s *Store) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if _, ok := namespaces.Namespace(ctx); ok {
		return s.provider.ReaderAt(ctx, desc)
	}
	list, err := namespacesapi.NewNamespacesClient(s.conn).List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	for _, namespace := range list.Namespaces {
		ra, err := s.provider.ReaderAt(namespaces.WithNamespace(ctx, namespace.Name), desc)
		if err == nil || !errdefs.IsNotFound(err) {
			return ra, err
		}
	}
	return nil, fmt.Errorf("%s in no namespace: %w", desc.Digest, errdefs.ErrNotFound)
}

// File opens a blob's own file. An error says that it has none here.
func (s *Store) File(ctx context.Context, desc ocispec.Descriptor) (*os.File, error) {
	root := s.storeRoot(ctx)
	if root == "" {
		return nil, os.ErrNotExist
	}
	return blobfile.Open(root, desc.Digest)
}

func (s *Store) storeRoot(ctx context.Context) string {
	s.find.Lock()
	defer s.find.Unlock()
	if s.root != "" || time.Since(s.asked) < askAgain {
		return s.root
	}
	s.asked = time.Now()
	root, err := s.askRoot(ctx)
	if err != nil {
		s.log.Warn("reading blobs through containerd's content service", "reason", err)
		return ""
	}
	s.log.Info("reading blobs from the content store's files", "root", root)
	s.root = root
	return root
}

var errNoStore = errors.New("containerd names no directory of its content store")

func (s *Store) askRoot(ctx context.Context) (string, error) {
	answer, err := introspectionapi.NewIntrospectionClient(s.conn).Plugins(ctx, &introspectionapi.PluginsRequest{
		Filters: []string{"type==" + plugins.ContentPlugin.String()},
	})
	if err != nil {
		return "", fmt.Errorf("introspection: %w", err)
	}
	for _, plugin := range answer.Plugins {
		root := plugin.Exports["root"]
		if root == "" {
			continue
		}
		// In a container of its own the daemon may see another tree under this name.
		if _, err := os.Stat(filepath.Join(root, "blobs")); err != nil {
			return "", err
		}
		return root, nil
	}
	return "", errNoStore
}
