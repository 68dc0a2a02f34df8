/* SPDX-License-Identifier: Apache-2.0 */
/* An audit tells each finding on this thread, and changes what it is asked to. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/xattr.h>

static const char opaque[] = "trusted.overlay.opaque";

struct seen {
  pthread_t caller;
  const char *upper;
  unsigned total, wrongly, lost, suspects;
  int answer;
};

static int damage(void *userdata, const ocilayer_damage *damage) {
  struct seen *seen = (struct seen *)userdata;
  CHECK(pthread_equal(pthread_self(), seen->caller));
  CHECK_INT(damage->size, sizeof *damage);
  CHECK_INT(damage->directory_length, strlen(damage->directory));
  CHECK_INT(damage->path_length, strlen(damage->path));
  CHECK_INT(damage->detail_length, strlen(damage->detail));
  CHECK(damage->message != NULL && damage->message[0] != 0);
  CHECK_TEXT(damage->directory, seen->upper);
  seen->total++;
  if (damage->kind == OCILAYER_DAMAGE_WRONGLY_OPAQUE) {
    CHECK_TEXT(damage->path, "etc");
    CHECK_TEXT(damage->message, "wrongly opaque");
    seen->wrongly++;
  } else if (damage->kind == OCILAYER_DAMAGE_LOST) {
    CHECK(strncmp(damage->path, "etc/", 4) == 0);
    seen->lost++;
  } else if (damage->kind == OCILAYER_DAMAGE_SUSPECT) {
    CHECK_TEXT(damage->path, "etc");
    seen->suspects++;
  }
  return seen->answer;
}

static void begin(struct seen *seen, const char *upper) {
  memset(seen, 0, sizeof *seen);
  seen->caller = pthread_self();
  seen->upper = upper;
}

static void mark(const char *root) {
  char path[4096];
  snprintf(path, sizeof path, "%s/etc", root);
  CHECK(setxattr(path, opaque, "y", 1, 0) == 0);
}

static bool marked(const char *root) {
  char path[4096];
  snprintf(path, sizeof path, "%s/etc", root);
  return getxattr(path, opaque, NULL, 0) >= 0;
}

/* Layers as they are audited: plain.tar, and one file of its directory etc on top. */
static int audit_two(const char *lower, const char *upper, uint32_t repair, struct seen *seen,
                     ocilayer_audit_report **report, ocilayer_error **error) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_audit_layer layers[2];
  int result;
  options.threads = 1;
  layers[0].source = from_path(layer("plain.tar"));
  layers[0].directory = lower;
  layers[1].source = from_path(layer("upper.tar"));
  layers[1].directory = upper;
  result = ocilayer_audit(layers, 2, &options, repair, damage, seen, report, error);
  ocilayer_source_free(layers[0].source);
  ocilayer_source_free(layers[1].source);
  return result;
}

static void unpack_two(const char *lower, const char *upper) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  options.mode = OCILAYER_MODE_OVERLAY;
  options.lowers = &lower;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar")), lower, &options, NULL, NULL), 0);
  options.lowers_count = 1;
  CHECK_INT(unpack_and_free(from_path(layer("upper.tar")), upper, &options, NULL, NULL), 0);
}

static void with_layers(const char *lower, const char *upper) {
  ocilayer_audit_report *report = NULL;
  ocilayer_error *error = NULL;
  struct seen seen;

  begin(&seen, upper);
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_NONE, &seen, &report, &error), 0);
  CHECK_INT(seen.total, 0);
  CHECK(error == NULL && !ocilayer_audit_report_damaged(report));
  CHECK_INT(ocilayer_audit_report_layers(report), 2);
  ocilayer_audit_report_free(report);

  mark(upper);
  begin(&seen, upper);
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_NONE, &seen, &report, NULL), 0);
  CHECK_INT(seen.wrongly, 1);
  CHECK_INT(seen.lost, 3);
  CHECK_INT(seen.total, 4);
  CHECK(ocilayer_audit_report_damaged(report));
  CHECK_INT(ocilayer_audit_report_count(report, OCILAYER_DAMAGE_LOST), 3);
  CHECK_INT(ocilayer_audit_report_count(report, 4711), 0);
  CHECK_INT(ocilayer_audit_report_repaired(report), 0);
  CHECK(strstr(ocilayer_audit_report_json(report), "\"lost\":3") != NULL);
  CHECK(marked(upper));
  ocilayer_audit_report_free(report);

  begin(&seen, upper);
  seen.answer = -EINTR;
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_MARKS, &seen, &report, &error), -EINTR);
  CHECK(report == NULL && error != NULL);
  CHECK(marked(upper));
  ocilayer_error_free(error);

  begin(&seen, upper);
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_MARKS, &seen, &report, NULL), 0);
  CHECK_INT(ocilayer_audit_report_repaired(report), 1);
  CHECK_INT(ocilayer_audit_report_whiteouts(report), 0);
  CHECK(!marked(upper));
  ocilayer_audit_report_free(report);

  begin(&seen, upper);
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_MARKS, &seen, &report, NULL), 0);
  CHECK_INT(seen.total, 0);
  CHECK_INT(ocilayer_audit_report_repaired(report), 0);
  ocilayer_audit_report_free(report);
}

/* What is restored is as it was: the content of a file that was cut, and one that is gone. */
static void restored(const char *lower, const char *upper) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_audit_report *report = NULL;
  ocilayer_error *error = NULL;
  ocilayer_audit_layer one;
  struct seen seen;
  char path[4096];

  snprintf(path, sizeof path, "%s/etc/more", upper);
  CHECK_INT(truncate(path, 0), 0);
  begin(&seen, upper);
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_RESTORE, &seen, &report, NULL), 0);
  CHECK(seen.total > 0);
  CHECK(ocilayer_audit_report_restored(report) > 0);
  CHECK_INT(ocilayer_audit_report_repaired(report), 0);
  ocilayer_audit_report_free(report);
  begin(&seen, upper);
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_RESTORE_LIVE, &seen, &report, NULL), 0);
  CHECK_INT(seen.total, 0);
  CHECK_INT(ocilayer_audit_report_restored(report), 0);
  ocilayer_audit_report_free(report);

  /* From another blob than the expected one nothing is. */
  CHECK_INT(truncate(path, 0), 0);
  one.source = from_path(layer("upper.tar"));
  one.directory = upper;
  options.mode = OCILAYER_MODE_OVERLAY;
  options.expected_diff_id =
      "sha256:0000000000000000000000000000000000000000000000000000000000000000";
  CHECK_INT(ocilayer_audit(&one, 1, &options, OCILAYER_REPAIR_RESTORE, NULL, NULL, NULL, &error),
            -EBADMSG);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_DIGEST);
  ocilayer_error_free(error);
  ocilayer_source_free(one.source);
  begin(&seen, upper);
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_RESTORE, &seen, NULL, NULL), 0);
  CHECK(seen.total > 0);
}

static void with_directories(const char *lower, const char *upper) {
  const char *directories[2];
  ocilayer_audit_report *report = NULL;
  struct seen seen;
  directories[0] = upper;
  directories[1] = lower;
  mark(upper);
  begin(&seen, upper);
  CHECK_INT(ocilayer_audit_directories(directories, 2, NULL, OCILAYER_REPAIR_NONE, damage, &seen,
                                       &report, NULL), 0);
  CHECK_INT(seen.total, 0);
  ocilayer_audit_report_free(report);

  mark(lower);
  CHECK_INT(ocilayer_audit_directories(directories, 2, NULL, OCILAYER_REPAIR_LIVE, damage, &seen,
                                       &report, NULL), 0);
  CHECK_INT(seen.suspects, 1);
  CHECK_INT(ocilayer_audit_report_count(report, OCILAYER_DAMAGE_SUSPECT), 1);
  CHECK(!ocilayer_audit_report_damaged(report));
  CHECK(!marked(upper) && marked(lower));
  ocilayer_audit_report_free(report);
}

/* What a mount uses is repaired only when that is asked for. */
static void live(const char *lower, const char *upper) {
  const char *ci = getenv("CI");
  char *merged = make_root(), *data;
  ocilayer_audit_report *report = NULL;
  ocilayer_error *error = NULL;
  struct seen seen;
  mark(upper);
  CHECK(asprintf(&data, "lowerdir=%s:%s", upper, lower) > 0);
  /* The mount ends with this process. */
  CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0);
  if (mount("overlay", merged, "overlay", MS_RDONLY, data) != 0) {
    fprintf(stderr, "SKIPPED: no overlay mounts here: %s\n", strerror(errno));
    exit(ci != NULL && strcmp(ci, "true") == 0 ? 1 : SKIPPED);
  }
  begin(&seen, upper);
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_MARKS, &seen, &report, &error), -EBUSY);
  CHECK(report == NULL && marked(upper));
  CHECK(strstr(ocilayer_error_message(error), merged) != NULL);
  ocilayer_error_free(error);
  CHECK_INT(audit_two(lower, upper, OCILAYER_REPAIR_LIVE, &seen, &report, NULL), 0);
  CHECK_INT(ocilayer_audit_report_repaired(report), 1);
  CHECK(!marked(upper));
  ocilayer_audit_report_free(report);
  CHECK(umount(merged) == 0);
  remove_root(merged);
  free(data);
}

static void arguments(const char *root) {
  const char *none[1] = {NULL};
  ocilayer_audit_layer layer_without = {NULL, NULL};
  ocilayer_error *error = NULL;
  CHECK_INT(ocilayer_audit(NULL, 0, NULL, 0, NULL, NULL, NULL, NULL), 0);
  CHECK_INT(ocilayer_audit(NULL, 1, NULL, 0, NULL, NULL, NULL, NULL), -EINVAL);
  layer_without.directory = root;
  CHECK_INT(ocilayer_audit(&layer_without, 1, NULL, 0, NULL, NULL, NULL, NULL), -EINVAL);
  layer_without.source = from_path("/nowhere");
  layer_without.directory = NULL;
  CHECK_INT(ocilayer_audit(&layer_without, 1, NULL, 0, NULL, NULL, NULL, NULL), -EINVAL);
  /* Refused before it was used up. */
  layer_without.directory = root;
  CHECK_INT(ocilayer_audit(&layer_without, 1, NULL, 0, NULL, NULL, NULL, &error), -ENOENT);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_SOURCE);
  ocilayer_error_free(error);
  ocilayer_source_free(layer_without.source);
  CHECK_INT(ocilayer_audit_directories(none, 1, NULL, 0, NULL, NULL, NULL, NULL), -EINVAL);
  CHECK_INT(ocilayer_audit_directories(&root, 1, NULL, 5, NULL, NULL, NULL, NULL), -EINVAL);
  CHECK_INT(ocilayer_audit_directories(&root, 1, NULL, OCILAYER_REPAIR_RESTORE, NULL, NULL, NULL,
                                       NULL), -EINVAL);
  none[0] = "/nowhere/at/all";
  CHECK_INT(ocilayer_audit_directories(none, 1, NULL, 0, NULL, NULL, NULL, NULL), -ENOENT);
  CHECK(!ocilayer_audit_report_damaged(NULL) && ocilayer_audit_report_json(NULL) == NULL);
  CHECK_INT(ocilayer_audit_report_count(NULL, 1) + ocilayer_audit_report_layers(NULL), 0);
  CHECK_INT(ocilayer_audit_report_repaired(NULL) + ocilayer_audit_report_whiteouts(NULL), 0);
  CHECK_INT(ocilayer_audit_report_restored(NULL), 0);
  ocilayer_audit_report_free(NULL);
}

int main(void) {
  char *lower, *upper;
  need_root();
  lower = make_root();
  upper = make_root();
  unpack_two(lower, upper);
  with_layers(lower, upper);
  restored(lower, upper);
  with_directories(lower, upper);
  arguments(lower);
  live(lower, upper);
  remove_root(lower);
  remove_root(upper);
  return 0;
}
