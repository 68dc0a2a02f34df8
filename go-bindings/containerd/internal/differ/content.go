// SPDX-License-Identifier: Apache-2.0

package differ

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
)

// contents reads blobs for requests: from the content store's files where they can be seen, else
// from containerd's content service.
type contents struct {
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

func newContents(config *Config, log *slog.Logger) (*contents, error) {
	conn, err := grpc.NewClient("unix://"+config.Containerd, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", config.Containerd, err)
	}
	return &contents{
		log:      log,
		conn:     conn,
		provider: contentproxy.NewContentStore(conn),
		root:     config.ContentRoot,
	}, nil
}

func (c *contents) Close() error { return c.conn.Close() }

// ReaderAt reads a blob in the request's namespace. Some of containerd's own calls carry none:
// then the first namespace that has the blob will do, for its digest is its content.
func (c *contents) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if _, ok := namespaces.Namespace(ctx); ok {
		return c.provider.ReaderAt(ctx, desc)
	}
	list, err := namespacesapi.NewNamespacesClient(c.conn).List(ctx, &namespacesapi.ListNamespacesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	for _, namespace := range list.Namespaces {
		ra, err := c.provider.ReaderAt(namespaces.WithNamespace(ctx, namespace.Name), desc)
		if err == nil || !errdefs.IsNotFound(err) {
			return ra, err
		}
	}
	return nil, fmt.Errorf("%s in no namespace: %w", desc.Digest, errdefs.ErrNotFound)
}

// file opens a blob's own file.
func (c *contents) file(ctx context.Context, desc ocispec.Descriptor) (*os.File, error) {
	root := c.storeRoot(ctx)
	if root == "" {
		return nil, os.ErrNotExist
	}
	// The digest becomes a path below.
	if err := desc.Digest.Validate(); err != nil {
		return nil, err
	}
	return os.Open(filepath.Join(root, "blobs", desc.Digest.Algorithm().String(), desc.Digest.Encoded()))
}

func (c *contents) storeRoot(ctx context.Context) string {
	c.find.Lock()
	defer c.find.Unlock()
	if c.root != "" || time.Since(c.asked) < askAgain {
		return c.root
	}
	c.asked = time.Now()
	root, err := c.askRoot(ctx)
	if err != nil {
		c.log.Warn("reading blobs through containerd's content service", "reason", err)
		return ""
	}
	c.log.Info("reading blobs from the content store's files", "root", root)
	c.root = root
	return root
}

var errNoStore = errors.New("containerd names no directory of its content store")

func (c *contents) askRoot(ctx context.Context) (string, error) {
	answer, err := introspectionapi.NewIntrospectionClient(c.conn).Plugins(ctx, &introspectionapi.PluginsRequest{
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
