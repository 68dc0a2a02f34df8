/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCILAYER_GO_BRIDGE_H
#define OCILAYER_GO_BRIDGE_H
#include <ocilayer.h>

/* Go's handles are small numbers. In Go they must never stand in a pointer, which its garbage
   collector would look at; so they become user data here, and numbers again in the trampolines. */
int ocilayer_go_source(uintptr_t call, ocilayer_source **source, ocilayer_error **error);
void ocilayer_go_callbacks(ocilayer_options *options, uintptr_t call, bool filter, bool progress,
                           bool warning, bool lowers);
int ocilayer_go_scan(ocilayer_source *source, const ocilayer_options *options, uintptr_t call,
                     bool finding, ocilayer_scan_report **report, ocilayer_error **error);
int ocilayer_go_audit(const ocilayer_audit_layer *layers, size_t count,
                      const ocilayer_options *options, uint32_t repair, uintptr_t call, bool damage,
                      ocilayer_audit_report **report, ocilayer_error **error);
int ocilayer_go_audit_directories(const char *const *directories, size_t count,
                                  const ocilayer_options *options, uint32_t repair, uintptr_t call,
                                  bool damage, ocilayer_audit_report **report,
                                  ocilayer_error **error);
#endif
