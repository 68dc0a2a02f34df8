/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacking through an overlay mount whose upper directory is named. */
#include "check.h"

#include <sched.h>
#include <sys/mount.h>

/* What a kernel with the bug does to the mount is a matter of `make test-kernel`. */
static void through(const char *mount_point, const char *upper, int expected) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_report *report = NULL;
  ocilayer_error *error = NULL;
  options.upper = upper;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar")), mount_point, &options, &report, &error),
            expected);
  if (expected != 0) {
    CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_INVALID_ARGUMENT);
  } else {
    CHECK_INT(ocilayer_report_propagated_marks(report), 0);
    CHECK(strstr(ocilayer_report_json(report), "\"propagated_marks\":0") != NULL);
  }
  ocilayer_error_free(error);
  ocilayer_report_free(report);
}

int main(void) {
  const char *ci = getenv("CI");
  char *base, *upper, *work, *merged, *data;
  need_root();
  base = make_root();
  CHECK(asprintf(&upper, "%s/upper", base) > 0 && mkdir(upper, 0755) == 0);
  CHECK(asprintf(&work, "%s/work", base) > 0 && mkdir(work, 0755) == 0);
  CHECK(asprintf(&merged, "%s/merged", base) > 0 && mkdir(merged, 0755) == 0);
  CHECK(asprintf(&data, "lowerdir=%s,upperdir=%s,workdir=%s", layer("lower"), upper, work) > 0);
  /* The mount ends with this process. */
  CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0);
  if (mount("overlay", merged, "overlay", 0, data) != 0) {
    fprintf(stderr, "SKIPPED: no overlay mounts here: %s\n", strerror(errno));
    remove_root(base);
    return ci != NULL && strcmp(ci, "true") == 0 ? 1 : SKIPPED;
  }

  through(merged, work, -EINVAL);
  through(merged, layer("lower"), -EINVAL);
  through(merged, "/nowhere/at/all", -ENOENT);
  CHECK(!exists(upper, "etc"));
  through(merged, upper, 0);
  check_content(upper, "etc/motd", "hello\n");
  CHECK(!exists(merged, "gone"));

  CHECK(umount(merged) == 0);
  remove_root(base);
  free(upper), free(work), free(merged), free(data);
  return 0;
}
