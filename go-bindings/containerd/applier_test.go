// SPDX-License-Identifier: Apache-2.0

package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
	"github.com/ocilayer/ocilayer/go-bindings/containerd"
	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

func TestDescriptorIsTheUncompressedLayersWithWhatFollowsIt(t *testing.T) {
	testneeds.Root(t)
	layer := append(layerOf(t, entry{"a", "content"}), "what follows the archive"...)
	for _, c := range []struct {
		name, mediaType string
		blob            []byte
	}{
		{"tar", ocispec.MediaTypeImageLayer, layer},
		{"gzip", ocispec.MediaTypeImageLayerGzip, gzipped(t, layer)},
		// Images have been seen whose media type does not tell that they are compressed.
		{"gzip in disguise", "application/vnd.docker.image.rootfs.diff.tar", gzipped(t, layer)},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := newBlobs(t)
			desc := store.add(t, c.mediaType, c.blob)
			root := t.TempDir()
			applied, err := containerd.NewApplier(store, containerd.WithContentRoot(store.root)).Apply(context.Background(), desc, bind(root))
			if err != nil {
				t.Fatal(err)
			}
			want := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(layer), Size: int64(len(layer))}
			if applied.MediaType != want.MediaType || applied.Digest != want.Digest || applied.Size != want.Size {
				t.Errorf("applied %v, not %v", applied, want)
			}
			expectFile(t, "content", root, "a")
		})
	}
}

func TestOverlayMountIsAppliedToItsUpperDirectory(t *testing.T) {
	testneeds.Root(t)
	store := newBlobs(t)
	desc := store.add(t, ocispec.MediaTypeImageLayer, layerOf(t, entry{".wh.gone", ""}, entry{".wh.never", ""}, entry{"d/f", "new"}))
	lower := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(lower, "gone"), nil, 0o600), os.Mkdir(filepath.Join(lower, "d"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		lowers []string
		mode   os.FileMode
		never  bool
	}{
		{"parents known", []string{lower}, 0o700, false},
		{"parents not known", nil, 0o755, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			upper := t.TempDir()
			if _, err := containerd.NewApplier(store).Apply(context.Background(), desc, overlay(t, upper, c.lowers...)); err != nil {
				t.Fatal(err)
			}
			if gone, err := os.Lstat(filepath.Join(upper, "gone")); err != nil || gone.Mode()&os.ModeCharDevice == 0 {
				t.Errorf("no whiteout: %v, %v", gone, err)
			}
			if _, err := os.Lstat(filepath.Join(upper, "never")); (err == nil) != c.never {
				t.Errorf("whiteout of what no parent has: %v", err)
			}
			if d, err := os.Lstat(filepath.Join(upper, "d")); err != nil || d.Mode().Perm() != c.mode {
				t.Errorf("implied directory: %v, %v", d, err)
			}
		})
	}
}

func TestOtherMountsAreMountedForTheTime(t *testing.T) {
	testneeds.Root(t)
	store := newBlobs(t)
	desc := store.add(t, ocispec.MediaTypeImageLayer, layerOf(t, entry{".wh.gone", ""}, entry{"f", "new"}))
	lower, upper := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(lower, "gone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mounts := overlay(t, upper, lower)
	// Redirects are the kernel's to read, and so this one is mounted.
	mounts[0].Options = append(mounts[0].Options, "redirect_dir=off")
	if _, err := containerd.NewApplier(store).Apply(context.Background(), desc, mounts); err != nil {
		t.Fatal(err)
	}
	expectFile(t, "new", upper, "f")
	if gone, err := os.Lstat(filepath.Join(upper, "gone")); err != nil || gone.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("no whiteout: %v, %v", gone, err)
	}
	mounted, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounted, []byte(upper)) {
		t.Errorf("still mounted, %v", err)
	}
}

func TestReadOnlyBindMountIsRefused(t *testing.T) {
	testneeds.Root(t)
	store := newBlobs(t)
	desc := store.add(t, ocispec.MediaTypeImageLayer, layerOf(t, entry{"f", "new"}))
	root := t.TempDir()
	mounts := bind(root)
	mounts[0].Options = []string{"ro", "rbind"}
	if _, err := containerd.NewApplier(store).Apply(context.Background(), desc, mounts); !errors.Is(err, syscall.EROFS) {
		t.Errorf("error %v, not EROFS", err)
	}
}

// turned is a media type whose processor turns every bit.
const turned = "application/vnd.ocilayer.test.turned"

func TestOtherMediaTypesGoThroughStreamProcessors(t *testing.T) {
	testneeds.Root(t)
	diff.RegisterProcessor(diff.StaticHandler(turned, func(_ context.Context, from diff.StreamProcessor, _ map[string]typeurl.Any) (diff.StreamProcessor, error) {
		return turner{from}, nil
	}))
	layer := layerOf(t, entry{"f", "turned twice"})
	blob := bytes.Clone(gzipped(t, layer))
	for i := range blob {
		blob[i] ^= 0xff
	}
	store := newBlobs(t)
	root := t.TempDir()
	applied, err := containerd.NewApplier(store, containerd.WithContentRoot(store.root)).Apply(context.Background(), store.add(t, turned, blob), bind(root))
	if err != nil {
		t.Fatal(err)
	}
	if applied.Digest != digest.FromBytes(layer) {
		t.Errorf("diffID %s", applied.Digest)
	}
	expectFile(t, "turned twice", root, "f")

	_, err = containerd.NewApplier(store).Apply(context.Background(), store.add(t, "application/octet-stream", []byte("x")), bind(root))
	if !errors.Is(err, diff.ErrNoProcessor) {
		t.Errorf("error %v, not ErrNoProcessor", err)
	}
}

type turner struct{ diff.StreamProcessor }

func (turner) MediaType() string { return ocispec.MediaTypeImageLayerGzip }

func (r turner) Read(p []byte) (int, error) {
	n, err := r.StreamProcessor.Read(p)
	for i := range p[:n] {
		p[i] ^= 0xff
	}
	return n, err
}

func TestErrorsHaveClassesThatSurviveGRPC(t *testing.T) {
	testneeds.Root(t)
	good := gzipped(t, layerOf(t, entry{"f", "x"}))
	store := newBlobs(t)
	for _, c := range []struct {
		name  string
		blob  []byte
		class error
		kind  error
	}{
		{"cut short", good[:len(good)-4], errdefs.ErrDataLoss, ocilayer.ErrCorrupt},
		{"no archive", gzipped(t, bytes.Repeat([]byte("x"), 1024)), errdefs.ErrInvalidArgument, ocilayer.ErrArchive},
		{"what no layer may", gzipped(t, layerOf(t, entry{".wh..", ""})), errdefs.ErrInvalidArgument, ocilayer.ErrLayer},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := containerd.NewApplier(store).Apply(context.Background(), store.add(t, ocispec.MediaTypeImageLayerGzip, c.blob), bind(t.TempDir()))
			if !errors.Is(err, c.class) || !errors.Is(err, c.kind) {
				t.Errorf("error %v, neither %v nor %v", err, c.class, c.kind)
			}
		})
	}
}

// everywhere has the same blob under every digest.
type everywhere struct{ *bytes.Reader }

func (e everywhere) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	return e, nil
}
func (everywhere) Close() error { return nil }

// A client's request may hold any text. Methods of digest.Digest panic where there is no colon in it, and
// take what is no digest at all for one of an unknown algorithm, which nobody checks.
func TestMalformedDigestsAreRefused(t *testing.T) {
	testneeds.Root(t)
	provider := everywhere{bytes.NewReader(layerOf(t, entry{"f", "x"}))}
	for _, malformed := range []digest.Digest{
		"", ":", "sha256", "sha256:", "sha256:zz", "sha256:../../x", "../../x", "../../x:y", ":e3b0",
		digest.Digest("SHA256:" + digest.FromString("x").Encoded()), digest.FromString("x") + "0", "sha256:\x00",
	} {
		root := t.TempDir()
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: malformed, Size: provider.Size()}
		for name, applier := range map[string]diff.Applier{
			"a provider":    containerd.NewApplier(provider),
			"its own store": containerd.NewApplier(provider, containerd.WithContentRoot(root)),
		} {
			_, err := applier.Apply(context.Background(), desc, bind(root))
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q from %s: error %v", malformed, name, err)
			}
		}
		if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
			t.Errorf("%q: %v, %v in the root", malformed, left, err)
		}
	}
}

func TestBlobThatWasChangedInTheStoreIsRefused(t *testing.T) {
	testneeds.Root(t)
	store := newBlobs(t)
	desc := store.add(t, ocispec.MediaTypeImageLayer, layerOf(t, entry{"f", "as it was"}))
	file := filepath.Join(store.root, "blobs", "sha256", desc.Digest.Encoded())
	changed := layerOf(t, entry{"f", "as it is!"})
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, changed, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := containerd.NewApplier(store, containerd.WithContentRoot(store.root)).Apply(context.Background(), desc, bind(t.TempDir()))
	if !errors.Is(err, errdefs.ErrDataLoss) {
		t.Errorf("error %v, not ErrDataLoss", err)
	}
}

func TestProgressBeginsAtZeroAndEndsAtTheBlobsSize(t *testing.T) {
	testneeds.Root(t)
	store := newBlobs(t)
	desc := store.add(t, ocispec.MediaTypeImageLayerGzip, gzipped(t, layerOf(t, entry{"f", "x"})))
	var seen []int64
	_, err := containerd.NewApplier(store).Apply(context.Background(), desc, bind(t.TempDir()),
		diff.WithProgress(func(_ ocispec.Descriptor, done int64) { seen = append(seen, done) }), diff.WithSyncFs(true))
	if err != nil {
		t.Fatal(err)
	}
	if seen[0] != 0 || seen[len(seen)-1] != desc.Size {
		t.Errorf("progress %v of %d", seen, desc.Size)
	}
}

// stuck is a provider whose blob never comes.
type stuck struct{ reading chan struct{} }

func (s stuck) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) { return s, nil }
func (s stuck) Size() int64                                                            { return 1 }
func (s stuck) Close() error                                                           { return nil }
func (s stuck) ReadAt([]byte, int64) (int, error) {
	close(s.reading)
	select {}
}

func TestCancelledApplyReturnsTheCause(t *testing.T) {
	testneeds.Root(t)
	cause := errors.New("the client has gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	provider := stuck{make(chan struct{})}
	go func() {
		<-provider.reading
		cancel(cause)
	}()
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("x"), Size: 1}
	if _, err := containerd.NewApplier(provider).Apply(ctx, desc, bind(t.TempDir())); !errors.Is(err, cause) {
		t.Errorf("error %v, not the cause", err)
	}
}

// applies is how many run at once: more than any containerd would start.
const applies = 200

func TestTwoHundredAppliesAtOnceLeaveNoGoroutineAndNoDescriptor(t *testing.T) {
	testneeds.Root(t)
	store := newBlobs(t)
	var files []entry
	for i := range 50 {
		files = append(files, entry{fmt.Sprintf("d/f%d", i), fmt.Sprint(i)})
	}
	desc := store.add(t, ocispec.MediaTypeImageLayerGzip, gzipped(t, layerOf(t, files...)))
	byFile := containerd.NewApplier(store, containerd.WithContentRoot(store.root))
	byReader := containerd.NewApplier(store)
	apply := func(applier diff.Applier, root string) error {
		_, err := applier.Apply(context.Background(), desc, bind(root))
		return err
	}
	// What the first call sets up for all is not counted.
	if err := errors.Join(apply(byFile, t.TempDir()), apply(byReader, t.TempDir())); err != nil {
		t.Fatal(err)
	}
	goroutines, descriptors := runtime.NumGoroutine(), countDescriptors(t)

	base := t.TempDir()
	var all sync.WaitGroup
	for i := range applies {
		root := filepath.Join(base, fmt.Sprint(i))
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			applier := byFile
			if i%2 == 1 {
				applier = byReader
			}
			if err := apply(applier, root); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range applies {
		expectFile(t, "49", base, fmt.Sprint(i), "d/f49")
	}
	// A goroutine that has said that it is done may still be on its last instructions.
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines before, %d after\n%s", goroutines, now, stacks[:runtime.Stack(stacks, true)])
	}
	if now := countDescriptors(t); now > descriptors {
		t.Errorf("%d descriptors before, %d after", descriptors, now)
	}
	t.Logf("%d applies: goroutines %d before and %d after, descriptors %d and %d", applies, goroutines, runtime.NumGoroutine(), descriptors, countDescriptors(t))
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
