/* SPDX-License-Identifier: Apache-2.0 */
/* NULL is -EINVAL, or harmless: never a crash. */
#include "check.h"

static int read_nothing(void *userdata, uint8_t *buffer, size_t length, size_t *got) {
  (void)userdata, (void)buffer, (void)length;
  *got = 0;
  return 0;
}

static void what_can_fail(void) {
  ocilayer_source *source = NULL, *none;
  ocilayer_growth *growth = NULL;
  ocilayer_report *report = NULL;
  ocilayer_error *error = NULL;
  uint8_t byte = 0;

  none = (ocilayer_source *)&byte;
  CHECK_INT(ocilayer_source_from_path(NULL, &none, &error), -EINVAL);
  CHECK(none == NULL);
  CHECK_TEXT(ocilayer_error_message(error), "path is NULL");
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_INVALID_ARGUMENT);
  CHECK_INT(ocilayer_error_errno(error), EINVAL);
  CHECK(!ocilayer_error_has_place(error));
  ocilayer_error_free(error);

  CHECK_INT(ocilayer_source_from_path(NULL, NULL, NULL), -EINVAL);
  CHECK_INT(ocilayer_source_from_path("/", NULL, NULL), -EINVAL);
  CHECK_INT(ocilayer_source_from_fd(0, NULL, NULL), -EINVAL);
  CHECK_INT(ocilayer_source_from_memory(NULL, 1, &none, NULL), -EINVAL);
  CHECK_INT(ocilayer_source_growing(0, NULL, &growth, NULL), -EINVAL);
  CHECK_INT(ocilayer_source_growing(0, &none, NULL, NULL), -EINVAL);
  ocilayer_growth_reached(NULL, 1);
  ocilayer_growth_complete(NULL);
  ocilayer_growth_fail(NULL, -EIO);
  ocilayer_growth_free(NULL);
  CHECK_INT(ocilayer_source_from_memory(&byte, 1, NULL, NULL), -EINVAL);
  CHECK_INT(ocilayer_source_from_reader(NULL, &byte, &none, NULL), -EINVAL);
  CHECK_INT(ocilayer_source_from_reader(read_nothing, NULL, NULL, NULL), -EINVAL);
  CHECK_INT(ocilayer_cancel_new(NULL, NULL), -EINVAL);
  CHECK_INT(check_overlay_opaque_propagation(NULL, NULL, NULL), -EINVAL);

  CHECK_INT(unpack_layer(NULL, NULL, NULL, NULL, NULL), -EINVAL);
  report = (ocilayer_report *)&byte;
  CHECK_INT(unpack_layer(NULL, "/nonexistent", NULL, &report, &error), -EINVAL);
  CHECK(report == NULL);
  CHECK_TEXT(ocilayer_error_message(error), "source is NULL");
  ocilayer_error_free(error);
  CHECK_INT(ocilayer_source_from_memory(NULL, 0, &source, NULL), 0);
  CHECK_INT(unpack_layer(source, NULL, NULL, &report, &error), -EINVAL);
  CHECK_TEXT(ocilayer_error_message(error), "root is NULL");
  ocilayer_error_free(error);
  ocilayer_source_free(source);
}

static void what_cannot_fail(void) {
  size_t length = 1;
  ocilayer_cancel_now(NULL);
  ocilayer_cancel_free(NULL);
  CHECK(!ocilayer_cancel_is_set(NULL));
  CHECK_INT(ocilayer_cancel_fd(NULL), -1);
  ocilayer_source_free(NULL);

  CHECK_TEXT(ocilayer_error_message(NULL), "no error");
  CHECK_INT(ocilayer_error_kind(NULL), OCILAYER_ERROR_NONE);
  CHECK_INT(ocilayer_error_errno(NULL), 0);
  CHECK(!ocilayer_error_has_place(NULL));
  CHECK(ocilayer_error_path(NULL, NULL) == NULL);
  CHECK(ocilayer_error_path(NULL, &length) == NULL && length == 0);
  CHECK_INT(ocilayer_error_entry(NULL), 0);
  CHECK_INT(ocilayer_error_offset(NULL), 0);
  ocilayer_error_free(NULL);

  CHECK(!ocilayer_report_partial(NULL));
  CHECK_INT(ocilayer_report_entries(NULL), 0);
  CHECK_INT(ocilayer_report_files(NULL), 0);
  CHECK_INT(ocilayer_report_directories(NULL), 0);
  CHECK_INT(ocilayer_report_symlinks(NULL), 0);
  CHECK_INT(ocilayer_report_hardlinks(NULL), 0);
  CHECK_INT(ocilayer_report_fifos(NULL), 0);
  CHECK_INT(ocilayer_report_devices(NULL), 0);
  CHECK_INT(ocilayer_report_whiteouts(NULL), 0);
  CHECK_INT(ocilayer_report_opaque_directories(NULL), 0);
  CHECK_INT(ocilayer_report_implied_directories(NULL), 0);
  CHECK_INT(ocilayer_report_copied_up(NULL), 0);
  CHECK_INT(ocilayer_report_propagated_marks(NULL), 0);
  CHECK_INT(ocilayer_report_hidden(NULL), 0);
  CHECK_INT(ocilayer_report_blob_bytes(NULL), 0);
  CHECK_INT(ocilayer_report_layer_bytes(NULL), 0);
  CHECK_INT(ocilayer_report_file_bytes(NULL), 0);
  CHECK(ocilayer_report_wall_seconds(NULL) == 0.0);
  CHECK(ocilayer_report_decompress_seconds(NULL) == 0.0);
  CHECK(ocilayer_report_digest_seconds(NULL) == 0.0);
  CHECK(ocilayer_report_apply_seconds(NULL) == 0.0);
  CHECK(ocilayer_report_sync_seconds(NULL) == 0.0);
  CHECK_INT(ocilayer_report_compression(NULL), OCILAYER_COMPRESSION_NONE);
  CHECK(ocilayer_report_blob_digest(NULL) == NULL);
  CHECK(ocilayer_report_diff_id(NULL) == NULL);
  CHECK(ocilayer_report_json(NULL) == NULL);
  CHECK(ocilayer_report_skipped(NULL, 0) == NULL);
  ocilayer_report_free(NULL);

  CHECK_INT(ocilayer_image_layers(NULL), 0);
  CHECK(ocilayer_image_digest(NULL, 0) == NULL);
  CHECK(ocilayer_image_diff_id(NULL, 0) == NULL);
  CHECK(ocilayer_image_chain_id(NULL, 0) == NULL);
  CHECK(ocilayer_image_json(NULL) == NULL);
  ocilayer_image_free(NULL);
  CHECK_INT(ocilayer_image_report_layers(NULL), 0);
  CHECK(ocilayer_image_report_layer(NULL, 0) == NULL);
  CHECK(ocilayer_image_report_path(NULL, 0) == NULL);
  CHECK(ocilayer_image_report_lowerdir(NULL) == NULL);
  CHECK(ocilayer_image_report_json(NULL) == NULL);
  ocilayer_image_report_free(NULL);

  CHECK_INT(ocilayer_skipped_reason(NULL), 0);
  CHECK(ocilayer_skipped_text(NULL) == NULL);
  CHECK_INT(ocilayer_skipped_count(NULL), 0);
  CHECK(ocilayer_skipped_path(NULL, 0, NULL) == NULL);
  length = 1;
  CHECK(ocilayer_skipped_detail(NULL, 0, &length) == NULL && length == 0);

  CHECK_INT(ocilayer_check_verdict(NULL), OCILAYER_VERDICT_UNKNOWN);
  CHECK(!ocilayer_check_propagates(NULL, OCILAYER_COPY_UP_CREATE));
  CHECK(ocilayer_check_summary(NULL) == NULL);
  CHECK(ocilayer_check_reason(NULL) == NULL);
  CHECK(ocilayer_check_advice(NULL) == NULL);
  CHECK(ocilayer_check_json(NULL) == NULL);
  ocilayer_check_free(NULL);
}

int main(void) {
  what_can_fail();
  what_cannot_fail();
  return 0;
}
