/* SPDX-License-Identifier: Apache-2.0 */
/* A count that no memory holds is -EINVAL: nothing is read of what stands there, and no crash. */
#include "check.h"

#include <stdint.h>

/* More than an object may have, for elements of every size. The last one wraps around: elements of 8
 * bytes would have 8 bytes together. */
static const size_t too_many[] = {SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX / 8 + 2};
#define TOO_MANY (sizeof too_many / sizeof too_many[0])

static void refused(int result, ocilayer_error *error, const char *name, size_t count) {
  char expected[256];
  snprintf(expected, sizeof expected, "%s is %zu elements long: no memory holds that many", name, count);
  CHECK_INT(result, -EINVAL);
  CHECK_TEXT(ocilayer_error_message(error), expected);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_INVALID_ARGUMENT);
  CHECK_INT(ocilayer_error_errno(error), EINVAL);
  ocilayer_error_free(error);
}

/* Bytes may be as many as a pointer's difference can say. */
static void lengths_of_memory(void) {
  const uint8_t byte = 0;
  size_t i;
  for (i = 0; i < 2; i++) {
    ocilayer_source *source = (ocilayer_source *)&source;
    ocilayer_error *error = NULL;
    int result = ocilayer_source_from_memory(&byte, too_many[i], &source, &error);
    CHECK(source == NULL);
    refused(result, error, "data", too_many[i]);
    CHECK_INT(ocilayer_source_from_memory(&byte, too_many[i], &source, NULL), -EINVAL);
    CHECK_INT(ocilayer_source_from_memory(NULL, too_many[i], &source, NULL), -EINVAL);
  }
}

static void options(const char *name, const ocilayer_options *options, size_t count) {
  ocilayer_source *source = NULL;
  ocilayer_report *report = NULL;
  ocilayer_error *error = NULL;
  int result;
  CHECK_INT(ocilayer_source_from_memory(NULL, 0, &source, NULL), 0);
  result = unpack_layer(source, "/nonexistent", options, &report, &error);
  refused(result, error, name, count);
  CHECK(report == NULL);
  ocilayer_source_free(source);
}

static void arrays_of_options(void) {
  const char *const lowers[] = {"/nonexistent"};
  const ocilayer_id_range range = {0, 100000, 65536};
  size_t i;
  for (i = 0; i < TOO_MANY; i++) {
    ocilayer_options overlay = OCILAYER_OPTIONS_INIT, uids = OCILAYER_OPTIONS_INIT, gids;
    overlay.mode = OCILAYER_MODE_OVERLAY;
    overlay.lowers = lowers;
    overlay.lowers_count = too_many[i];
    options("options.lowers", &overlay, too_many[i]);

    uids.owners = OCILAYER_OWNERS_MAP;
    uids.uid_ranges = uids.gid_ranges = &range;
    uids.uid_ranges_count = uids.gid_ranges_count = 1;
    gids = uids;
    uids.uid_ranges_count = too_many[i];
    options("options.uid_ranges", &uids, too_many[i]);
    gids.gid_ranges_count = too_many[i];
    options("options.gid_ranges", &gids, too_many[i]);
  }
}

static void layers_to_audit(void) {
  const char *const directories[] = {"/nonexistent"};
  ocilayer_audit_layer layer_to_audit = {NULL, "/nonexistent"};
  size_t i;
  layer_to_audit.source = from_path("/nonexistent");
  for (i = 0; i < TOO_MANY; i++) {
    ocilayer_audit_report *report = NULL;
    ocilayer_error *error = NULL;
    int result = ocilayer_audit(&layer_to_audit, too_many[i], NULL, OCILAYER_REPAIR_NONE, NULL, NULL,
                                &report, &error);
    refused(result, error, "layers", too_many[i]);
    error = NULL;
    result = ocilayer_audit_directories(directories, too_many[i], NULL, OCILAYER_REPAIR_NONE, NULL,
                                        NULL, &report, &error);
    refused(result, error, "directories", too_many[i]);
    CHECK(report == NULL);
  }
  ocilayer_source_free(layer_to_audit.source);
}

int main(void) {
  lengths_of_memory();
  arrays_of_options();
  layers_to_audit();
  return 0;
}
