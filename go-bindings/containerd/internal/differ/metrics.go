// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

type metrics struct {
	registry *prometheus.Registry
	// gatherers are the registry and what others have written.
	gatherers prometheus.Gatherers
	layers    *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	stages    *prometheus.CounterVec
	errors    *prometheus.CounterVec
	skipped   *prometheus.CounterVec
	seconds   prometheus.Histogram
	running   prometheus.Gauge
	waiting   prometheus.Gauge
}

// newMetrics also shows those of the last verification, which are in a file if there was one.
func newMetrics(verification string) *metrics {
	counter := func(name, help string, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ocilayer_differ", Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "ocilayer_differ", Name: name, Help: help})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		layers:   counter("layers_total", "Layers by result: applied, failed, refused.", "result"),
		bytes:    counter("bytes_total", "Bytes of blobs as stored, of layers uncompressed, and written to files.", "of"),
		stages:   counter("stage_seconds_total", "Seconds by stage; stages overlap.", "stage"),
		errors:   counter("errors_total", "Failed applies by kind of error.", "kind"),
		skipped:  counter("skipped_total", "Things in layers that were left out, by reason.", "reason"),
		// A small layer takes milliseconds, a large one on a slow disk minutes.
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "ocilayer_differ", Name: "apply_seconds", Help: "Duration of an apply.",
			Buckets: prometheus.ExponentialBuckets(0.005, 3, 11),
		}),
		running: gauge("running", "Applies that run."),
		waiting: gauge("waiting", "Applies that wait for others."),
	}
	m.gatherers = prometheus.Gatherers{m.registry, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		return figuresIn(verification)
	})}
	m.registry.MustRegister(m.layers, m.bytes, m.stages, m.errors, m.skipped, m.seconds, m.running, m.waiting,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, result := range []string{"applied", "failed", "refused"} {
		m.layers.WithLabelValues(result)
	}
	return m
}

func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.gatherers, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return mux
}

// figuresIn reads figures in Prometheus's text format; none if there is no such file.
func figuresIn(path string) ([]*dto.MetricFamily, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return slices.Collect(maps.Values(families)), nil
}

func (m *metrics) refused() { m.layers.WithLabelValues("refused").Inc() }

func (m *metrics) applied(report *ocilayer.Report, err error) {
	if err != nil {
		m.layers.WithLabelValues("failed").Inc()
		m.errors.WithLabelValues(kindOf(err)).Inc()
	} else {
		m.layers.WithLabelValues("applied").Inc()
	}
	if report == nil {
		return
	}
	for of, bytes := range map[string]uint64{"blob": report.BlobBytes, "layer": report.LayerBytes, "files": report.FileBytes} {
		m.bytes.WithLabelValues(of).Add(float64(bytes))
	}
	for stage, took := range map[string]float64{
		"decompress": report.Decompress.Seconds(), "digest": report.Digest.Seconds(),
		"apply": report.Apply.Seconds(), "sync": report.Sync.Seconds(),
	} {
		m.stages.WithLabelValues(stage).Add(took)
	}
	for _, skipped := range report.Skipped {
		m.skipped.WithLabelValues(skipped.Text).Add(float64(skipped.Count))
	}
	m.seconds.Observe(report.Wall.Seconds())
}

// kinds name errors in metrics. What is none of the library's own happened before it: the blob
// could not be opened, or the mounts not be mounted.
var kinds = []struct {
	name string
	kind error
}{
	{"cancelled", context.Canceled},
	{"cancelled", context.DeadlineExceeded},
	{"cancelled", ocilayer.ErrCancelled},
	{"invalid_argument", ocilayer.ErrInvalidArgument},
	{"source", ocilayer.ErrSource},
	{"corrupt", ocilayer.ErrCorrupt},
	{"archive", ocilayer.ErrArchive},
	{"layer", ocilayer.ErrLayer},
	{"digest", ocilayer.ErrDigest},
	{"limit", ocilayer.ErrLimit},
	{"filesystem", ocilayer.ErrFilesystem},
	{"reader", ocilayer.ErrCallback},
	{"unsupported", ocilayer.ErrUnsupported},
	{"panic", ocilayer.ErrPanic},
}

func kindOf(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			return k.name
		}
	}
	return "containerd"
}
