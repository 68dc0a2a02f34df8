// SPDX-License-Identifier: Apache-2.0

//go:build linux && cgo

package ocilayer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	ocilayer "github.com/ocilayer/ocilayer/go-bindings"
)

// A mark that needs no privilege, so that neither do these tests.
const opaqueMark = "user.overlay.opaque"

// stack is two layers over one directory, unpacked.
type stack struct {
	blobs       [][]byte
	directories []string
}

func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{}
	for i, file := range []file{{"srv/one", "1"}, {"srv/two", "2"}} {
		s.blobs = append(s.blobs, layer(t, file))
		s.directories = append(s.directories, t.TempDir())
		lowers := slices.Clone(s.directories[:i])
		_, err := unpackTo(s.directories[i], bytes.NewReader(s.blobs[i]), ocilayer.WithoutOwners(),
			ocilayer.WithMode(ocilayer.ModeOverlayUserXattr), ocilayer.WithLowers(lowers...))
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *stack) mark(t *testing.T, directory string) {
	t.Helper()
	if err := syscall.Setxattr(filepath.Join(directory, "srv"), opaqueMark, []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
}

// audit reads the lower layer from memory and the upper one from a reader.
func (s *stack) audit(found func(ocilayer.Damage) error, opts ...ocilayer.Option) (*ocilayer.AuditReport, error) {
	return s.auditFrom(struct{ io.Reader }{bytes.NewReader(s.blobs[1])}, found, opts...)
}

func (s *stack) auditFrom(upper io.Reader, found func(ocilayer.Damage) error, opts ...ocilayer.Option) (*ocilayer.AuditReport, error) {
	layers := []ocilayer.AuditLayer{{bytes.NewReader(s.blobs[0]), s.directories[0]}, {upper, s.directories[1]}}
	opts = append(opts, ocilayer.WithMode(ocilayer.ModeOverlayUserXattr))
	return ocilayer.Audit(context.Background(), layers, found, opts...)
}

func TestAuditFindsAndRepairsAWrongMark(t *testing.T) {
	s := newStack(t)
	report, err := s.audit(nil)
	if err != nil || report.Damaged || len(report.Damage) > 0 || report.Layers != 2 {
		t.Fatalf("what was unpacked: %v, %+v", err, report)
	}
	s.mark(t, s.directories[1])
	var found []ocilayer.Damage
	keep := func(d ocilayer.Damage) error { found = append(found, d); return nil }
	report, err = s.audit(keep, ocilayer.WithRepair(ocilayer.RepairMarks))
	want := []ocilayer.Damage{
		{ocilayer.DamageWronglyOpaque, s.directories[1], "srv", "", "wrongly opaque"},
		{ocilayer.DamageLost, s.directories[1], "srv/one", s.directories[0], "lost"},
	}
	if err != nil || !slices.Equal(found, want) {
		t.Fatalf("found %v, %v", found, err)
	}
	if !strings.Contains(report.JSON, ocilayer.DamageWronglyOpaque.String()) || !strings.Contains(report.JSON, ocilayer.DamageLost.String()) {
		t.Errorf("other names in %s", report.JSON)
	}
	if !report.Damaged || report.Repaired != 1 || report.Damage[ocilayer.DamageLost] != 1 || !json.Valid([]byte(report.JSON)) {
		t.Errorf("report: %+v", report)
	}
	if report, err = s.audit(nil); err != nil || report.Damaged {
		t.Errorf("after the repair: %v, %+v", err, report)
	}
}

func TestAuditOfDirectoriesFindsSuspects(t *testing.T) {
	s := newStack(t)
	s.mark(t, s.directories[0])
	s.mark(t, s.directories[1])
	topmostFirst := []string{s.directories[1], s.directories[0]}
	report, err := ocilayer.AuditDirectories(context.Background(), topmostFirst, nil,
		ocilayer.WithMode(ocilayer.ModeOverlayUserXattr))
	if err != nil || report.Damaged || report.Damage[ocilayer.DamageSuspect] != 1 {
		t.Errorf("%v, %+v", err, report)
	}
}

func TestAuditEndsWithTheCallersOwnError(t *testing.T) {
	own := errors.New("own")
	s := newStack(t)
	s.mark(t, s.directories[1])
	fails := func(ocilayer.Damage) error { return own }
	for name, audit := range map[string]func() (*ocilayer.AuditReport, error){
		"reader":  func() (*ocilayer.AuditReport, error) { return s.auditFrom(iotest.ErrReader(own), nil) },
		"finding": func() (*ocilayer.AuditReport, error) { return s.audit(fails) },
		"panic": func() (*ocilayer.AuditReport, error) {
			return s.audit(func(ocilayer.Damage) error { panic(own) })
		},
	} {
		report, err := audit()
		var native *ocilayer.Error
		if report != nil || !errors.Is(err, own) || !errors.As(err, &native) || native.Op != "audit" {
			t.Errorf("%s: %v, %+v", name, err, report)
		}
	}
	for name, directory := range map[string]string{"NUL": "a\x00b", "nowhere": "/nowhere/at/all"} {
		if _, err := ocilayer.AuditDirectories(context.Background(), []string{directory}, nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	_, err := ocilayer.Audit(context.Background(), []ocilayer.AuditLayer{{nil, t.TempDir()}}, nil)
	if !errors.Is(err, ocilayer.ErrInvalidArgument) || !strings.Contains(err.Error(), "no reader") {
		t.Errorf("without a reader: %v", err)
	}
}

func TestAuditRestoresWhatWasCut(t *testing.T) {
	s := newStack(t)
	names, err := filepath.Glob(filepath.Join(s.directories[1], "srv", "*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	before, err := os.ReadFile(names[0])
	if err == nil {
		err = os.Remove(names[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	report, err := s.audit(nil, ocilayer.WithCompare(ocilayer.CompareSizes))
	if err != nil || report.Damage[ocilayer.DamageMissing] != 1 || report.Restored != 0 {
		t.Fatalf("what is missing: %v, %+v", err, report)
	}
	if report, err = s.audit(nil, ocilayer.WithRepair(ocilayer.RepairRestore)); err != nil || report.Restored == 0 {
		t.Fatalf("restore: %v, %+v", err, report)
	}
	if report, err = s.audit(nil); err != nil || report.Damaged {
		t.Errorf("afterwards: %v, %+v", err, report)
	}
	if after, err := os.ReadFile(names[0]); err != nil || !bytes.Equal(before, after) {
		t.Errorf("%s: %v, %q, was %q", names[0], err, after, before)
	}
	_, err = ocilayer.AuditDirectories(context.Background(), s.directories[:], nil, ocilayer.WithRepair(ocilayer.RepairRestore))
	if !errors.Is(err, ocilayer.ErrInvalidArgument) {
		t.Errorf("without layers: %v", err)
	}
}
