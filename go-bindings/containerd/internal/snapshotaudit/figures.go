// SPDX-License-Identifier: Apache-2.0

package snapshotaudit

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// Figures counts what another observer hears of.
type Figures struct {
	Observer
	registry         *prometheus.Registry
	images, findings *prometheus.GaugeVec
	seconds, ended   prometheus.Gauge
}

// NewFigures counts what observer hears of.
func NewFigures(observer Observer) *Figures {
	named := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "ocilayer", Subsystem: "verify", Name: name, Help: help}
	}
	f := &Figures{
		Observer: observer,
		registry: prometheus.NewRegistry(),
		images:   prometheus.NewGaugeVec(named("images", "Images by result of the last check: clean, damaged, failed, or unverified where not all blobs are there."), []string{"result"}),
		findings: prometheus.NewGaugeVec(named("findings", "Findings of the last check by kind."), []string{"kind"}),
		seconds:  prometheus.NewGauge(named("seconds", "How long the last check took.")),
		ended:    prometheus.NewGauge(named("end_timestamp_seconds", "When the last check ended.")),
	}
	f.registry.MustRegister(f.images, f.findings, f.seconds, f.ended)
	for _, result := range []string{"clean", "damaged", "failed", "unverified"} {
		f.images.WithLabelValues(result)
	}
	for _, kind := range ocilayer.DamageKinds() {
		f.findings.WithLabelValues(kind.String())
	}
	return f
}

// Done counts the image.
func (f *Figures) Done(image Image, report *ocilayer.AuditReport, err error) error {
	result := "clean"
	switch {
	case err != nil:
		result = "failed"
	case !image.Exact:
		result = "unverified"
	case report.Damaged:
		result = "damaged"
	}
	f.images.WithLabelValues(result).Inc()
	if err == nil {
		for kind, count := range report.Damage {
			f.findings.WithLabelValues(kind.String()).Add(float64(count))
		}
	}
	return f.Observer.Done(image, report, err)
}

// Write replaces a file by the figures, in Prometheus's text format.
func (f *Figures) Write(path string, took time.Duration) error {
	f.seconds.Set(took.Seconds())
	f.ended.SetToCurrentTime()
	return prometheus.WriteToTextfile(path, f.registry)
}
