/* SPDX-License-Identifier: Apache-2.0 */
/* An error tells kind, errno, and the entry that it is about. */
#include "check.h"

static char *root;

static ocilayer_error *fails(const char *path, const char *below, int expected, uint32_t kind,
                             ocilayer_report **report) {
  ocilayer_error *error = NULL;
  CHECK_INT(unpack_and_free(from_path(path), below, NULL, report, &error), expected);
  CHECK_INT(ocilayer_error_kind(error), kind);
  return error;
}

static void an_entry_that_no_layer_may_have(void) {
  ocilayer_report *report = NULL;
  ocilayer_error *error =
      fails(layer("bad-entry.tar"), root, -EINVAL, OCILAYER_ERROR_LAYER, &report);
  const char *path;
  size_t length = 0;
  CHECK(ocilayer_error_has_place(error));
  path = ocilayer_error_path(error, &length);
  CHECK_TEXT(path, ".wh.");
  CHECK_INT(length, 4);
  CHECK(ocilayer_error_path(error, NULL) == path);
  CHECK_INT(ocilayer_error_entry(error), 1);
  CHECK(ocilayer_error_offset(error) >= 1024 && ocilayer_error_offset(error) % 512 == 0);
  CHECK(strncmp(ocilayer_error_message(error), "entry 1 \".wh.\" at ", 18) == 0);
  check_content(root, "a", "good\n");
  CHECK(report != NULL);
  CHECK(ocilayer_report_partial(report));
  CHECK_INT(ocilayer_report_files(report), 1);
  CHECK(ocilayer_report_diff_id(report) == NULL);
  ocilayer_report_free(report);
  ocilayer_error_free(error);
}

static void a_blob_that_is_cut(void) {
  ocilayer_report *report = NULL;
  ocilayer_error *error =
      fails(layer("truncated.tar.gz"), root, -EBADMSG, OCILAYER_ERROR_CORRUPT, &report);
  CHECK(ocilayer_error_has_place(error));
  CHECK_TEXT(ocilayer_error_path(error, NULL), "./big");
  CHECK(ocilayer_report_partial(report));
  ocilayer_report_free(report);
  ocilayer_error_free(error);
}

static void without_a_place(void) {
  ocilayer_error *error = fails("/nonexistent", root, -ENOENT, OCILAYER_ERROR_SOURCE, NULL);
  size_t length = 1;
  CHECK(!ocilayer_error_has_place(error));
  CHECK(ocilayer_error_path(error, &length) == NULL && length == 0);
  CHECK_INT(ocilayer_error_entry(error), 0);
  CHECK_INT(ocilayer_error_offset(error), 0);
  CHECK(strstr(ocilayer_error_message(error), "/nonexistent") != NULL);
  ocilayer_error_free(error);

  error = fails(layer("text"), root, -EBADMSG, OCILAYER_ERROR_ARCHIVE, NULL);
  ocilayer_error_free(error);
}

static void a_root_that_is_none(void) {
  const char *blob = layer("plain.tar.gz");
  ocilayer_report *report = NULL;
  ocilayer_error *error =
      fails(blob, "/nonexistent", -ENOENT, OCILAYER_ERROR_INVALID_ARGUMENT, &report);
  CHECK(report == NULL);
  CHECK(strstr(ocilayer_error_message(error), "/nonexistent") != NULL);
  ocilayer_error_free(error);
  error = fails(blob, "/dev/null", -ENOTDIR, OCILAYER_ERROR_INVALID_ARGUMENT, NULL);
  ocilayer_error_free(error);
  error = fails(blob, "", -ENOENT, OCILAYER_ERROR_INVALID_ARGUMENT, NULL);
  ocilayer_error_free(error);
}

static void nobody_has_to_ask(void) {
  ocilayer_source *source = from_path(layer("bad-entry.tar"));
  CHECK_INT(unpack_layer(source, root, NULL, NULL, NULL), -EINVAL);
  ocilayer_source_free(source);
}

static void a_source_serves_once(void) {
  ocilayer_source *source = from_path(layer("plain.tar.gz"));
  ocilayer_error *error = NULL;
  CHECK_INT(unpack_layer(source, root, NULL, NULL, &error), 0);
  CHECK(error == NULL);
  CHECK_INT(unpack_layer(source, root, NULL, NULL, &error), -EINVAL);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_INVALID_ARGUMENT);
  CHECK(strstr(ocilayer_error_message(error), "used already") != NULL);
  ocilayer_error_free(error);
  ocilayer_source_free(source);
}

int main(void) {
  need_root();
  root = make_root();
  an_entry_that_no_layer_may_have();
  a_blob_that_is_cut();
  without_a_place();
  a_root_that_is_none();
  nobody_has_to_ask();
  a_source_serves_once();
  remove_root(root);
  return 0;
}
