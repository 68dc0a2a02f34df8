/* SPDX-License-Identifier: Apache-2.0 */
/* A layer of each compression becomes the tree that GNU tar packed, in each mode. */
#include "check.h"

static int descriptors(void) {
  DIR *directory = opendir("/proc/self/fd");
  int count = 0;
  CHECK(directory != NULL);
  while (readdir(directory) != NULL) count++;
  closedir(directory);
  return count;
}

static void the_tree_is_there(const char *name) {
  char *root = make_root(), path[4096];
  struct stat motd, same, found;
  CHECK_INT(unpack_and_free(from_path(layer(name)), root, NULL, NULL, NULL), 0);
  check_content(root, "etc/motd", "hello\n");
  check_content(root, "etc/link", "hello\n");
  snprintf(path, sizeof path, "%s/etc/motd", root);
  CHECK(lstat(path, &motd) == 0);
  CHECK_INT(motd.st_mtime, 1);
  snprintf(path, sizeof path, "%s/etc/same", root);
  CHECK(lstat(path, &same) == 0);
  CHECK(motd.st_ino == same.st_ino);
  snprintf(path, sizeof path, "%s/usr/bin/su", root);
  CHECK(lstat(path, &found) == 0);
  CHECK_INT(found.st_mode, S_IFREG | 04755);
  snprintf(path, sizeof path, "%s/fifo", root);
  CHECK(lstat(path, &found) == 0);
  CHECK(S_ISFIFO(found.st_mode));
  snprintf(path, sizeof path, "%s/null", root);
  CHECK(lstat(path, &found) == 0);
  CHECK(S_ISCHR(found.st_mode) && found.st_rdev != 0);
  CHECK(!exists(root, ".wh.gone") && !exists(root, "gone"));
  remove_root(root);
}

static void a_whiteout_deletes_in_a_directory(void) {
  char *root = make_root(), path[4096];
  snprintf(path, sizeof path, "%s/gone", root);
  CHECK(mkdir(path, 0755) == 0);
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar.gz")), root, NULL, NULL, NULL), 0);
  CHECK(!exists(root, "gone"));
  remove_root(root);
}

/* With known parents: only where one of them has the name. */
static void a_whiteout_is_a_device_in_overlay_mode(void) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  const char *lowers[] = {NULL};
  int has_it;
  options.mode = OCILAYER_MODE_OVERLAY;
  options.lowers = lowers;
  for (has_it = 0; has_it < 2; has_it++) {
    char *root = make_root(), path[4096];
    struct stat found;
    lowers[0] = layer("lower");
    options.lowers_count = has_it ? 1 : 0;
    CHECK_INT(unpack_and_free(from_path(layer("plain.tar.gz")), root, &options, NULL, NULL), 0);
    snprintf(path, sizeof path, "%s/gone", root);
    CHECK_INT(lstat(path, &found), has_it ? 0 : -1);
    CHECK(!has_it || (S_ISCHR(found.st_mode) && found.st_rdev == 0));
    remove_root(root);
  }
}

int main(void) {
  int before;
  need_root();
  before = descriptors();
  the_tree_is_there("plain.tar");
  the_tree_is_there("plain.tar.gz");
  the_tree_is_there("plain.tar.zst");
  a_whiteout_deletes_in_a_directory();
  a_whiteout_is_a_device_in_overlay_mode();
  CHECK_INT(descriptors(), before);
  return 0;
}
