/* SPDX-License-Identifier: Apache-2.0 */
/* A report has each number, and the same in JSON. */
#include "check.h"

static void has(const char *json, const char *name, unsigned long long value) {
  char member[128], found[160];
  const char *at;
  snprintf(member, sizeof member, "\"%s\":%llu", name, value);
  at = strstr(json, member);
  if (at == NULL) {
    snprintf(found, sizeof found, "%s in JSON", member);
    CHECK_TEXT(json, found);
  }
}

static void numbers(const char *name, uint32_t compression) {
  ocilayer_report *report = NULL;
  const ocilayer_skipped *skipped;
  const char *json;
  char *root = make_root(), digest_name[64], *digest, *diff_id;
  struct stat blob, layer_file;
  size_t length = 0;
  CHECK(stat(layer(name), &blob) == 0 && stat(layer("plain.tar"), &layer_file) == 0);
  CHECK_INT(unpack_and_free(from_path(layer(name)), root, NULL, &report, NULL), 0);

  CHECK(!ocilayer_report_partial(report));
  CHECK_INT(ocilayer_report_entries(report), 12);
  CHECK_INT(ocilayer_report_files(report), 3);
  CHECK_INT(ocilayer_report_directories(report), 4);
  CHECK_INT(ocilayer_report_symlinks(report), 1);
  CHECK_INT(ocilayer_report_hardlinks(report), 1);
  CHECK_INT(ocilayer_report_fifos(report), 1);
  CHECK_INT(ocilayer_report_devices(report), 1);
  CHECK_INT(ocilayer_report_whiteouts(report), 1);
  CHECK_INT(ocilayer_report_opaque_directories(report), 0);
  CHECK_INT(ocilayer_report_implied_directories(report), 0);
  CHECK_INT(ocilayer_report_copied_up(report), 0);
  CHECK_INT(ocilayer_report_propagated_marks(report), 0);
  CHECK_INT(ocilayer_report_hidden(report), 0);
  CHECK_INT(ocilayer_report_blob_bytes(report), blob.st_size);
  CHECK_INT(ocilayer_report_layer_bytes(report), layer_file.st_size);
  CHECK_INT(ocilayer_report_file_bytes(report), 3000000 + 6 + 10);
  CHECK_INT(ocilayer_report_compression(report), compression);
  CHECK(ocilayer_report_wall_seconds(report) > 0.0);
  CHECK(ocilayer_report_apply_seconds(report) > 0.0);
  CHECK(ocilayer_report_decompress_seconds(report) > 0.0);
  CHECK(ocilayer_report_digest_seconds(report) > 0.0);
  CHECK(ocilayer_report_sync_seconds(report) >= 0.0);

  snprintf(digest_name, sizeof digest_name, "%s.sha256", name);
  digest = slurp(layer(digest_name), NULL);
  diff_id = slurp(layer("plain.tar.sha256"), NULL);
  CHECK_TEXT(ocilayer_report_blob_digest(report), digest);
  CHECK_TEXT(ocilayer_report_diff_id(report), diff_id);

  skipped = ocilayer_report_skipped(report, 0);
  CHECK_INT(ocilayer_skipped_reason(skipped), OCILAYER_SKIP_TRUSTED_XATTR);
  CHECK_INT(ocilayer_skipped_count(skipped), 1);
  CHECK_TEXT(ocilayer_skipped_text(skipped), "trusted.* xattr dropped");
  CHECK_TEXT(ocilayer_skipped_path(skipped, 0, &length), "./etc/motd");
  CHECK_INT(length, 10);
  CHECK_TEXT(ocilayer_skipped_detail(skipped, 0, &length), "trusted.secret");
  CHECK_INT(length, 14);
  CHECK(ocilayer_skipped_path(skipped, 1, &length) == NULL && length == 0);
  skipped = ocilayer_report_skipped(report, 1);
  CHECK_INT(ocilayer_skipped_reason(skipped), OCILAYER_SKIP_UNNEEDED_WHITEOUT);
  CHECK_TEXT(ocilayer_skipped_path(skipped, 0, NULL), "./.wh.gone");
  CHECK_TEXT(ocilayer_skipped_detail(skipped, 0, &length), "");
  CHECK_INT(length, 0);
  CHECK(ocilayer_report_skipped(report, 2) == NULL);
  CHECK(ocilayer_report_skipped(report, (size_t)-1) == NULL);

  json = ocilayer_report_json(report);
  CHECK(json != NULL && json[0] == '{' && json[strlen(json) - 1] == '}');
  CHECK(ocilayer_report_json(report) == json);
  has(json, "total", 12);
  has(json, "hardlinks", 1);
  has(json, "whiteouts", 1);
  has(json, "blob", (unsigned long long)blob.st_size);
  has(json, "layer", (unsigned long long)layer_file.st_size);
  CHECK(strstr(json, "\"partial\":false") != NULL);
  CHECK(strstr(json, digest) != NULL && strstr(json, diff_id) != NULL);
  CHECK(strstr(json, "\"trusted_xattr\":{\"count\":1") != NULL);

  free(digest);
  free(diff_id);
  ocilayer_report_free(report);
  remove_root(root);
}

int main(void) {
  need_root();
  numbers("plain.tar", OCILAYER_COMPRESSION_NONE);
  numbers("plain.tar.gz", OCILAYER_COMPRESSION_GZIP);
  numbers("plain.tar.zst", OCILAYER_COMPRESSION_ZSTD);
  return 0;
}
