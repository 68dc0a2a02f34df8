// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// diffID is the digest of what a gzip'd blob has inside.
func diffID(t testing.TB, blob []byte) string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(blob))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return digest(archive)
}

// imageBlobs is the layers of an image, each a blob in memory.
func imageBlobs(t testing.TB) [][]byte {
	t.Helper()
	return [][]byte{
		layer(t, file{"etc/", ""}, file{"etc/a", "below"}, file{"etc/gone", ""}),
		large(t),
		layer(t, file{"etc/", ""}, file{"etc/a", "above"}, file{"etc/.wh.gone", ""}),
	}
}

func layersOf(t testing.TB, blobs [][]byte, reader func([]byte) io.Reader) ocilayer.Image {
	t.Helper()
	var image ocilayer.Image
	for _, blob := range blobs {
		image.Layers = append(image.Layers,
			ocilayer.ImageLayer{Blob: reader(blob), Digest: digest(blob), DiffID: diffID(t, blob)})
	}
	return image
}

func content(t testing.TB, path ...string) string {
	t.Helper()
	bytes, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes)
}

// encoded is bytes as they are, and anything else as JSON.
func encoded(t testing.TB, value any) []byte {
	t.Helper()
	if bytes, ok := value.([]byte); ok {
		return bytes
	}
	bytes, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// layout writes the blobs as an image layout.
func layout(t testing.TB, blobs [][]byte) string {
	t.Helper()
	top := t.TempDir()
	write := func(name string, value any) {
		t.Helper()
		bytes := encoded(t, value)
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(mediaType string, value any) map[string]any {
		t.Helper()
		bytes := encoded(t, value)
		write("blobs/"+strings.Replace(digest(bytes), ":", "/", 1), bytes)
		return map[string]any{"mediaType": mediaType, "digest": digest(bytes), "size": len(bytes)}
	}
	var layers []any
	var diffIDs []string
	for _, own := range blobs {
		layers = append(layers, blob("application/vnd.oci.image.layer.v1.tar+gzip", own))
		diffIDs = append(diffIDs, diffID(t, own))
	}
	config := blob("application/vnd.oci.image.config.v1+json", map[string]any{
		"os": "linux", "architecture": "amd64",
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	manifest := blob("application/vnd.oci.image.manifest.v1+json",
		map[string]any{"schemaVersion": 2, "config": config, "layers": layers})
	manifest["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "v1"}
	write("index.json", map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})
	write("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
	return top
}

func TestImageOfEveryKindOfReaderBecomesOneTree(t *testing.T) {
	needsRoot(t)
	blobs := imageBlobs(t)
	regular := func(blob []byte) io.Reader {
		path := filepath.Join(t.TempDir(), "blob")
		if err := os.WriteFile(path, blob, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return file
	}
	for name, image := range map[string]ocilayer.Image{
		"memory":  layersOf(t, blobs, func(blob []byte) io.Reader { return bytes.NewReader(blob) }),
		"regular": layersOf(t, blobs, regular),
		"ReaderAt": layersOf(t, blobs, func(blob []byte) io.Reader {
			return io.NewSectionReader(bytes.NewReader(blob), 0, int64(len(blob)))
		}),
		"slow": layersOf(t, blobs, func(blob []byte) io.Reader {
			return iotest.HalfReader(bytes.NewReader(blob))
		}),
		"layout": {Path: layout(t, blobs), Name: "v1"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			report, err := ocilayer.UnpackImage(context.Background(), root, image)
			if err != nil {
				t.Fatal(err)
			}
			if content(t, root, "etc/a") != "above" || content(t, root, "last") != "end" {
				t.Error("another tree")
			}
			if _, err := os.Lstat(filepath.Join(root, "etc/gone")); !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
			if len(report.Layers) != 3 || report.Lowerdir != "" || report.Layers[2].Report.Whiteouts != 1 {
				t.Errorf("%+v", report)
			}
			if report.Layers[0].ChainID != report.Layers[0].DiffID || report.Layers[1].Digest != digest(blobs[1]) {
				t.Errorf("%+v", report)
			}
		})
	}
}

func TestImageBecomesLayersOfAStore(t *testing.T) {
	needsRoot(t)
	image, store := ocilayer.Image{Path: layout(t, imageBlobs(t))}, filepath.Join(t.TempDir(), "store")
	var asked, warned, complete int
	for reused := range 2 {
		report, err := ocilayer.UnpackImage(context.Background(), store, image, ocilayer.WithMode(ocilayer.ModeOverlay),
			ocilayer.WithFilter(func(e *ocilayer.Entry) (bool, error) {
				asked += int(e.Layer)
				return e.Path != "etc/gone", nil
			}),
			ocilayer.WithWarning(func(w ocilayer.Warning) { warned += 1 + int(w.Layer) }),
			ocilayer.WithProgress(func(p ocilayer.Progress) { complete = int(p.LayersComplete) }))
		if err != nil {
			t.Fatal(err)
		}
		for i, own := range report.Layers {
			if (own.Report == nil) != (reused == 1) || !strings.Contains(own.Path, strings.TrimPrefix(own.ChainID, "sha256:")) {
				t.Errorf("layer %d: %+v", i, own)
			}
		}
		paths := report.Layers[2].Path + ":" + report.Layers[1].Path + ":" + report.Layers[0].Path
		if report.Lowerdir != paths {
			t.Errorf("%q, not %q", report.Lowerdir, paths)
		}
		// The filter declined what the third layer's whiteout was for: two warnings, in the first run.
		if asked != 2*1+3*2 || warned != 1+3 || complete != 3 {
			t.Errorf("asked %d, warned %d, complete %d", asked, warned, complete)
		}
	}
}

func TestImageThatFailsSaysWhichLayerAndWhy(t *testing.T) {
	needsRoot(t)
	blobs, broken := imageBlobs(t), errors.New("the line is dead")
	pipes := func() ocilayer.Image {
		return layersOf(t, blobs, func(blob []byte) io.Reader { return iotest.HalfReader(bytes.NewReader(blob)) })
	}
	unpack := func(ctx context.Context, image ocilayer.Image) error {
		t.Helper()
		report, err := ocilayer.UnpackImage(ctx, t.TempDir(), image, ocilayer.WithMode(ocilayer.ModeOverlay))
		if err == nil || report != nil {
			t.Fatal(err, report)
		}
		return err
	}
	image := pipes()
	image.Layers[1].Blob = io.MultiReader(bytes.NewReader(blobs[1][:1<<20]), iotest.ErrReader(broken))
	if err := unpack(context.Background(), image); !errors.Is(err, broken) || !errors.Is(err, ocilayer.ErrSource) {
		t.Error(err)
	}
	image = pipes()
	image.Layers[1].Blob = readerFunc(func([]byte) (int, error) { panic("as the test wants it") })
	var panicked *ocilayer.PanicError
	if err := unpack(context.Background(), image); !errors.As(err, &panicked) {
		t.Error(err)
	}
	image = pipes()
	image.Layers[2].DiffID = image.Layers[0].DiffID
	err := unpack(context.Background(), image)
	if !errors.Is(err, ocilayer.ErrDigest) || !errors.Is(err, syscall.EBADMSG) || !strings.Contains(err.Error(), "layer 3 of 3") {
		t.Error(err)
	}
	// A reader that waits for ever, in the middle of the second layer.
	ctx, cancel := context.WithCancelCause(context.Background())
	image = pipes()
	image.Layers[1].Blob = io.MultiReader(bytes.NewReader(blobs[1][:1<<20]), readerFunc(func([]byte) (int, error) {
		cancel(broken)
		select {}
	}))
	if err := unpack(ctx, image); !errors.Is(err, broken) || !errors.Is(err, ocilayer.ErrCancelled) {
		t.Error(err)
	}
	for name, image := range map[string]ocilayer.Image{
		"neither": {}, "both": {Path: "/", Layers: pipes().Layers}, "NUL": {Path: "a\x00b"},
		"no reader": {Layers: []ocilayer.ImageLayer{{DiffID: digest(nil)}}},
		"no diffID": {Layers: []ocilayer.ImageLayer{{Blob: bytes.NewReader(blobs[0])}}},
		"platform":  {Path: layout(t, blobs), Platform: "linux/"},
	} {
		if err := unpack(context.Background(), image); !errors.Is(err, ocilayer.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
