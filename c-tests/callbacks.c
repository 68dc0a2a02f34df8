/* SPDX-License-Identifier: Apache-2.0 */
/* The filter is asked about each entry, progress and warnings are told, all on this thread. */
#include "check.h"

#include <pthread.h>

struct seen {
  pthread_t caller;
  const char *skip;
  int answer;
  unsigned entries, progress, warnings;
  bool su, null, link, whiteout;
  ocilayer_progress last;
};

static int filter(void *userdata, const ocilayer_entry *entry) {
  struct seen *seen = (struct seen *)userdata;
  CHECK(pthread_equal(pthread_self(), seen->caller));
  CHECK_INT(entry->size, sizeof *entry);
  CHECK_INT(entry->index, seen->entries);
  CHECK_INT(entry->path_length, strlen(entry->path));
  CHECK_INT(entry->link_length, strlen(entry->link));
  CHECK_INT(entry->offset % 512, 0);
  CHECK_INT(entry->mtime_seconds, 1);
  CHECK_INT(entry->mtime_nanoseconds, 0);
  CHECK_INT(entry->layer, 0);
  seen->entries++;
  if (strcmp(entry->path, "./usr/bin/su") == 0) {
    CHECK_INT(entry->kind, OCILAYER_ENTRY_FILE);
    CHECK_INT(entry->mode, 04755);
    CHECK_INT(entry->file_size, 10);
    CHECK_INT(entry->uid, 0);
    seen->su = true;
  } else if (strcmp(entry->path, "./null") == 0) {
    CHECK_INT(entry->kind, OCILAYER_ENTRY_CHAR_DEVICE);
    CHECK_INT(entry->device_major, 1);
    CHECK_INT(entry->device_minor, 3);
    seen->null = true;
  } else if (strcmp(entry->path, "./etc/link") == 0) {
    CHECK_INT(entry->kind, OCILAYER_ENTRY_SYMLINK);
    CHECK_TEXT(entry->link, "motd");
    seen->link = true;
  } else if (strcmp(entry->path, "./.wh.gone") == 0) {
    seen->whiteout = true;
  }
  return seen->skip != NULL && strcmp(entry->path, seen->skip) == 0 ? seen->answer : 1;
}

static void progress(void *userdata, const ocilayer_progress *progress) {
  struct seen *seen = (struct seen *)userdata;
  CHECK(pthread_equal(pthread_self(), seen->caller));
  CHECK_INT(progress->size, sizeof *progress);
  CHECK(progress->blob_bytes >= seen->last.blob_bytes);
  CHECK(progress->blob_bytes <= progress->blob_size);
  seen->last = *progress;
  seen->progress++;
}

static void warning(void *userdata, const ocilayer_warning *warning) {
  struct seen *seen = (struct seen *)userdata;
  CHECK(pthread_equal(pthread_self(), seen->caller));
  CHECK_INT(warning->size, sizeof *warning);
  CHECK_INT(warning->path_length, strlen(warning->path));
  CHECK_INT(warning->detail_length, strlen(warning->detail));
  CHECK(warning->text != NULL && warning->text[0] != 0);
  CHECK_INT(warning->layer, 0);
  if (warning->reason == OCILAYER_SKIP_TRUSTED_XATTR) {
    CHECK_TEXT(warning->path, "./etc/motd");
    CHECK_TEXT(warning->detail, "trusted.secret");
    seen->warnings++;
  } else if (warning->reason == OCILAYER_SKIP_UNNEEDED_WHITEOUT) {
    CHECK_TEXT(warning->path, "./.wh.gone");
    seen->warnings++;
  } else {
    CHECK_INT(warning->reason, OCILAYER_SKIP_FILTERED);
    CHECK_TEXT(warning->path, seen->skip);
  }
}

static int unpack(struct seen *seen, const char *skip, int answer, char *root,
                  ocilayer_error **error) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  memset(seen, 0, sizeof *seen);
  seen->caller = pthread_self();
  seen->skip = skip;
  seen->answer = answer;
  options.userdata = seen;
  options.filter = filter;
  options.progress = progress;
  options.warning = warning;
  return unpack_and_free(from_path(layer("plain.tar.gz")), root, &options, NULL, error);
}

static void fails(const char *entry, int answer, int expected) {
  struct seen seen;
  ocilayer_error *error = NULL;
  char *root = make_root();
  CHECK_INT(unpack(&seen, entry, answer, root, &error), expected);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_CALLBACK);
  CHECK_TEXT(ocilayer_error_path(error, NULL), entry);
  ocilayer_error_free(error);
  remove_root(root);
}

int main(void) {
  struct seen seen;
  char *root;
  need_root();

  root = make_root();
  CHECK_INT(unpack(&seen, NULL, 1, root, NULL), 0);
  CHECK(seen.su && seen.null && seen.link && seen.whiteout);
  CHECK_INT(seen.warnings, 2);
  CHECK(seen.progress >= 1);
  CHECK_INT(seen.last.entries, seen.entries);
  CHECK_INT(seen.last.fifos, 1);
  CHECK_INT(seen.last.devices, 1);
  CHECK_INT(seen.last.symlinks, 1);
  CHECK_INT(seen.last.hardlinks, 1);
  CHECK_INT(seen.last.files, 3);
  CHECK_INT(seen.last.directories, 4);
  CHECK(seen.last.layer_bytes > 3000000);
  CHECK(seen.last.blob_size > 0 && seen.last.blob_bytes == seen.last.blob_size);
  remove_root(root);

  root = make_root();
  CHECK_INT(unpack(&seen, "./usr/bin/su", 0, root, NULL), 0);
  CHECK(!exists(root, "usr/bin/su") && exists(root, "usr/bin"));
  remove_root(root);

  fails("./usr/bin/su", -EPERM, -EPERM);
  fails("./etc/motd", -EDQUOT, -EDQUOT);
  fails("./usr/bin/su", 2, -EINVAL);
  fails("./usr/bin/su", -100000, -EINVAL);
  return 0;
}
