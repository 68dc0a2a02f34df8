/* SPDX-License-Identifier: Apache-2.0 */
//go:build linux

#include "bridge.h"
#include "_cgo_export.h"

static int go_read(void *userdata, uint8_t *buffer, size_t length, size_t *got) {
  return ocilayerGoRead((uintptr_t)userdata, buffer, length, got);
}

static int go_filter(void *userdata, const ocilayer_entry *entry) {
  return ocilayerGoFilter((uintptr_t)userdata, (ocilayer_entry *)entry);
}

static void go_progress(void *userdata, const ocilayer_progress *progress) {
  ocilayerGoProgress((uintptr_t)userdata, (ocilayer_progress *)progress);
}

static void go_warning(void *userdata, const ocilayer_warning *warning) {
  ocilayerGoWarning((uintptr_t)userdata, (ocilayer_warning *)warning);
}

static int go_lowers(void *userdata, const char *const **lowers, size_t *count) {
  return ocilayerGoLowers((uintptr_t)userdata, (char ***)lowers, count);
}

static int go_finding(void *userdata, const ocilayer_finding *finding) {
  return ocilayerGoFinding((uintptr_t)userdata, (ocilayer_finding *)finding);
}

static int go_damage(void *userdata, const ocilayer_damage *damage) {
  return ocilayerGoDamage((uintptr_t)userdata, (ocilayer_damage *)damage);
}

int ocilayer_go_source(uintptr_t call, ocilayer_source **source, ocilayer_error **error) {
  return ocilayer_source_from_reader(go_read, (void *)call, source, error);
}

void ocilayer_go_callbacks(ocilayer_options *options, uintptr_t call, bool filter, bool progress,
                           bool warning, bool lowers) {
  options->userdata = (void *)call;
  options->filter = filter ? go_filter : NULL;
  options->progress = progress ? go_progress : NULL;
  options->warning = warning ? go_warning : NULL;
  options->lowers_later = lowers ? go_lowers : NULL;
}

int ocilayer_go_scan(ocilayer_source *source, const ocilayer_options *options, uintptr_t call,
                     bool finding, ocilayer_scan_report **report, ocilayer_error **error) {
  return ocilayer_scan(source, options, finding ? go_finding : NULL, (void *)call, report, error);
}

int ocilayer_go_audit(const ocilayer_audit_layer *layers, size_t count,
                      const ocilayer_options *options, uint32_t repair, uintptr_t call, bool damage,
                      ocilayer_audit_report **report, ocilayer_error **error) {
  return ocilayer_audit(layers, count, options, repair, damage ? go_damage : NULL, (void *)call,
                        report, error);
}

int ocilayer_go_audit_directories(const char *const *directories, size_t count,
                                  const ocilayer_options *options, uint32_t repair, uintptr_t call,
                                  bool damage, ocilayer_audit_report **report,
                                  ocilayer_error **error) {
  return ocilayer_audit_directories(directories, count, options, repair,
                                    damage ? go_damage : NULL, (void *)call, report, error);
}
