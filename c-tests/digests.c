/* SPDX-License-Identifier: Apache-2.0 */
/* Expected digests are checked, and what came instead is told. */
#include "check.h"

static void unpack(const char *blob, const char *diff_id, int expected) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_error *error = NULL;
  ocilayer_report *report = NULL;
  char *root = make_root();
  options.expected_blob_digest = blob;
  options.expected_diff_id = diff_id;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar.gz")), root, &options, &report, &error),
            expected);
  CHECK(ocilayer_report_partial(report) == (expected != 0));
  if (expected != 0) {
    CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_DIGEST);
    CHECK(strstr(ocilayer_error_message(error), blob ? blob : diff_id) != NULL);
  } else {
    CHECK_TEXT(ocilayer_report_blob_digest(report), blob ? blob : ocilayer_report_blob_digest(report));
    CHECK_TEXT(ocilayer_report_diff_id(report), diff_id ? diff_id : ocilayer_report_diff_id(report));
  }
  ocilayer_error_free(error);
  ocilayer_report_free(report);
  remove_root(root);
}

/* The blob's digest is left out where nobody asks for it, and checked where somebody does. */
static void without_the_blob_digest(const char *blob, const char *other) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_report *report = NULL;
  char *root = make_root();
  options.skip_blob_digest = 1;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar.gz")), root, &options, &report, NULL), 0);
  CHECK(ocilayer_report_blob_digest(report) == NULL);
  CHECK(ocilayer_report_diff_id(report) != NULL);
  ocilayer_report_free(report);
  options.expected_blob_digest = blob;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar.gz")), root, &options, &report, NULL), 0);
  CHECK_TEXT(ocilayer_report_blob_digest(report), blob);
  ocilayer_report_free(report);
  options.expected_blob_digest = other;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar.gz")), root, &options, NULL, NULL), -EBADMSG);
  remove_root(root);
}

int main(void) {
  char *blob256 = slurp(layer("plain.tar.gz.sha256"), NULL);
  char *blob512 = slurp(layer("plain.tar.gz.sha512"), NULL);
  char *diff256 = slurp(layer("plain.tar.sha256"), NULL);
  char *diff512 = slurp(layer("plain.tar.sha512"), NULL);
  need_root();
  unpack(blob256, diff256, 0);
  unpack(blob512, diff512, 0);
  unpack(blob256, NULL, 0);
  unpack(NULL, diff512, 0);
  /* Each is the right digest of the wrong bytes. */
  unpack(diff256, NULL, -EBADMSG);
  unpack(NULL, blob512, -EBADMSG);
  without_the_blob_digest(blob256, diff256);
  free(blob256);
  free(blob512);
  free(diff256);
  free(diff512);
  return 0;
}
