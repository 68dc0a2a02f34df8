/* SPDX-License-Identifier: Apache-2.0 */
/* A scan tells each finding on this thread, writes nothing, and refuses what unpack_layer refuses. */
#include "check.h"

#include <pthread.h>

struct seen {
  pthread_t caller;
  unsigned total, refused, progress;
  uint64_t refused_entry;
  uint32_t refused_kind;
  bool su, trusted, whiteout, null;
  int answer;
};

static int finding(void *userdata, const ocilayer_finding *finding) {
  struct seen *seen = (struct seen *)userdata;
  CHECK(pthread_equal(pthread_self(), seen->caller));
  CHECK_INT(finding->size, sizeof *finding);
  CHECK_INT(finding->path_length, strlen(finding->path));
  CHECK_INT(finding->detail_length, strlen(finding->detail));
  CHECK(finding->message != NULL && finding->message[0] != 0);
  CHECK_INT(finding->offset % 512, 0);
  seen->total++;
  if (finding->kind == OCILAYER_FINDING_REFUSED) {
    CHECK(finding->error_kind != OCILAYER_ERROR_NONE && finding->error_errno > 0);
    if (seen->refused++ == 0) {
      seen->refused_entry = finding->entry;
      seen->refused_kind = finding->error_kind;
    }
  } else {
    CHECK_INT(finding->error_kind, OCILAYER_ERROR_NONE);
    CHECK_INT(finding->error_errno, 0);
    CHECK_INT(finding->has_place, 1);
  }
  if (finding->kind == OCILAYER_FINDING_SETUID) {
    CHECK_TEXT(finding->path, "./usr/bin/su");
    CHECK_TEXT(finding->detail, "4755");
    seen->su = true;
  } else if (finding->kind == OCILAYER_FINDING_TRUSTED_XATTR) {
    CHECK_TEXT(finding->path, "./etc/motd");
    CHECK_TEXT(finding->detail, "trusted.secret");
    seen->trusted = true;
  } else if (finding->kind == OCILAYER_FINDING_WHITEOUT) {
    CHECK_TEXT(finding->path, "./.wh.gone");
    CHECK_TEXT(finding->detail, "gone");
    seen->whiteout = true;
  } else if (finding->kind == OCILAYER_FINDING_DEVICE) {
    CHECK_TEXT(finding->detail, "c 1:3");
    seen->null = true;
  }
  return seen->answer;
}

static void progress(void *userdata, const ocilayer_progress *progress) {
  CHECK_INT(progress->size, sizeof *progress);
  ((struct seen *)userdata)->progress++;
}

static int scan(const char *name, const ocilayer_options *options, int answer, struct seen *seen,
                ocilayer_scan_report **report, ocilayer_error **error) {
  ocilayer_source *source = from_path(layer(name));
  int result;
  memset(seen, 0, sizeof *seen);
  seen->caller = pthread_self();
  seen->answer = answer;
  result = ocilayer_scan(source, options, finding, seen, report, error);
  ocilayer_source_free(source);
  return result;
}

static void a_good_layer(void) {
  static const char *const layers[] = {"plain.tar", "plain.tar.gz", "plain.tar.zst"};
  unsigned i;
  for (i = 0; i < 3; i++) {
    ocilayer_options options = OCILAYER_OPTIONS_INIT;
    ocilayer_scan_report *report = NULL;
    struct seen seen;
    char name[64], *expected;
    options.progress = progress;
    options.userdata = &seen;
    CHECK_INT(scan(layers[i], &options, 0, &seen, &report, NULL), 0);
    CHECK(seen.su && seen.trusted && seen.whiteout && seen.null && seen.progress >= 1);
    CHECK_INT(seen.refused, 0);
    CHECK(!ocilayer_scan_report_refused(report) && !ocilayer_scan_report_partial(report));
    CHECK(!ocilayer_scan_report_names_lost(report, NULL));
    CHECK_INT(ocilayer_scan_report_count(report, OCILAYER_FINDING_SETUID), 1);
    CHECK_INT(ocilayer_scan_report_count(report, OCILAYER_FINDING_REFUSED), 0);
    CHECK_INT(ocilayer_scan_report_count(report, 0), 0);
    CHECK_INT(ocilayer_scan_report_count(report, 99999), 0);
    CHECK(ocilayer_scan_report_entries(report) > 8);
    snprintf(name, sizeof name, "%s.sha256", layers[i]);
    expected = slurp(layer(name), NULL);
    CHECK_TEXT(ocilayer_scan_report_blob_digest(report), expected);
    free(expected);
    expected = slurp(layer("plain.tar.sha256"), NULL);
    CHECK_TEXT(ocilayer_scan_report_diff_id(report), expected);
    free(expected);
    CHECK(strstr(ocilayer_scan_report_json(report), "\"setuid\":1") != NULL);
    ocilayer_scan_report_free(report);
  }
}

/* The first refusal is where unpack_layer fails. */
static void refusals(const char *name, const ocilayer_options *options) {
  ocilayer_scan_report *report = NULL;
  ocilayer_error *error = NULL;
  struct seen seen;
  char *root = make_root();
  CHECK_INT(scan(name, options, 0, &seen, &report, NULL), 0);
  CHECK(ocilayer_scan_report_refused(report));
  CHECK_INT(ocilayer_scan_report_count(report, OCILAYER_FINDING_REFUSED), seen.refused);
  CHECK(unpack_and_free(from_path(layer(name)), root, options, NULL, &error) < 0);
  CHECK_INT(seen.refused_kind, ocilayer_error_kind(error));
  CHECK_INT(seen.refused_entry, ocilayer_error_entry(error));
  ocilayer_error_free(error);
  ocilayer_scan_report_free(report);
  remove_root(root);
}

static void what_is_an_error(void) {
  static const char *const none[] = {NULL};
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_scan_report *report;
  ocilayer_source *source = NULL;
  ocilayer_cancel *cancel = NULL;
  ocilayer_error *error = NULL;
  struct seen seen;

  CHECK_INT(scan("plain.tar.gz", NULL, -EDQUOT, &seen, &report, &error), -EDQUOT);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_CALLBACK);
  CHECK(ocilayer_error_has_place(error) && report == NULL);
  CHECK_INT(seen.total, 1);
  ocilayer_error_free(error);
  CHECK_INT(scan("plain.tar.gz", NULL, 7, &seen, NULL, NULL), -EINVAL);

  CHECK_INT(scan("missing", NULL, 0, &seen, NULL, NULL), -ENOENT);
  CHECK_INT(ocilayer_scan(NULL, NULL, finding, &seen, NULL, NULL), -EINVAL);

  CHECK_INT(ocilayer_cancel_new(&cancel, NULL), 0);
  ocilayer_cancel_now(cancel);
  options.cancel = cancel;
  CHECK_INT(scan("plain.tar.gz", &options, 0, &seen, NULL, NULL), -ECANCELED);
  ocilayer_cancel_free(cancel);
  options.cancel = NULL;

  /* Refused options do not use the source up, a scan does; no callback is fine. */
  source = from_path(layer("small.tar"));
  options.mode = 99;
  CHECK_INT(ocilayer_scan(source, &options, NULL, NULL, NULL, NULL), -EINVAL);
  options.mode = OCILAYER_MODE_DIRECTORY;
  options.lowers = none;
  CHECK_INT(ocilayer_scan(source, &options, NULL, NULL, NULL, NULL), 0);
  CHECK_INT(ocilayer_scan(source, &options, NULL, NULL, NULL, NULL), -EINVAL);
  ocilayer_source_free(source);
}

int main(void) {
  ocilayer_options wrong = OCILAYER_OPTIONS_INIT;
  char other[72] = "sha256:";
  need_root();
  a_good_layer();
  refusals("bad-entry.tar", NULL);
  refusals("truncated.tar.gz", NULL);
  refusals("text", NULL);
  memset(other + 7, '0', 64);
  other[71] = 0;
  wrong.expected_diff_id = other;
  refusals("plain.tar.gz", &wrong);
  what_is_an_error();

  CHECK(!ocilayer_scan_report_refused(NULL) && !ocilayer_scan_report_partial(NULL));
  CHECK(!ocilayer_scan_report_names_lost(NULL, NULL));
  CHECK_INT(ocilayer_scan_report_count(NULL, OCILAYER_FINDING_SETUID), 0);
  CHECK_INT(ocilayer_scan_report_entries(NULL), 0);
  CHECK(ocilayer_scan_report_blob_digest(NULL) == NULL && ocilayer_scan_report_diff_id(NULL) == NULL);
  CHECK(ocilayer_scan_report_json(NULL) == NULL);
  ocilayer_scan_report_free(NULL);
  return 0;
}
