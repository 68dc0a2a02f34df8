/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests share: a check that says what it saw, layers, and roots to unpack to. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <ocilayer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What ctest takes for "skipped". */
#define SKIPPED 77

#define CHECK(what) \
  ((what) ? (void)0 : (fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what), exit(1)))

/* For results: 0, or a negative errno. */
#define CHECK_INT(got, expected) check_int(__FILE__, __LINE__, #got, (long long)(got), (expected))

#define CHECK_TEXT(got, expected) check_text(__FILE__, __LINE__, #got, (got), (expected))

static inline void check_int(const char *file, int line, const char *what, long long got,
                             long long expected) {
  if (got != expected) {
    fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", file, line, what, got, expected);
    exit(1);
  }
}

static inline void check_text(const char *file, int line, const char *what, const char *got,
                              const char *expected) {
  if (got == NULL || strcmp(got, expected) != 0) {
    fprintf(stderr, "%s:%d: %s is \"%s\", not \"%s\"\n", file, line, what, got ? got : "(NULL)",
            expected);
    exit(1);
  }
}

/* A layer that makes devices and owners needs root: without it this is no test. */
static inline void need_root(void) {
  const char *ci = getenv("CI");
  if (geteuid() == 0) return;
  fprintf(stderr, "SKIPPED: unpacking with owners needs root\n");
  exit(ci != NULL && strcmp(ci, "true") == 0 ? 1 : SKIPPED);
}

/* The path of a file that layers.sh made. */
static inline const char *layer(const char *name) {
  static char paths[8][4096];
  static unsigned next;
  char *path = paths[next++ % 8];
  const char *directory = getenv("LAYERS");
  CHECK(directory != NULL);
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

/* An empty directory; the caller frees the name and calls remove_root. */
static inline char *make_root(void) {
  const char *directory = getenv("TMPDIR");
  char *root = NULL;
  CHECK(asprintf(&root, "%s/ocilayer-c-XXXXXX", directory ? directory : "/tmp") > 0);
  CHECK(mkdtemp(root) != NULL);
  return root;
}

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
  (void)info, (void)kind, (void)at;
  return remove(path);
}

static inline void remove_root(char *root) {
  CHECK(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
  free(root);
}

static inline bool exists(const char *root, const char *name) {
  char path[4096];
  struct stat info;
  snprintf(path, sizeof path, "%s/%s", root, name);
  return lstat(path, &info) == 0;
}

/* The whole of a file; the caller frees it. The length may be NULL. */
static inline char *slurp(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  char *bytes = NULL;
  long size;
  CHECK(file != NULL);
  CHECK(fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0);
  CHECK((bytes = (char *)malloc((size_t)size + 1)) != NULL);
  CHECK(fread(bytes, 1, (size_t)size, file) == (size_t)size);
  bytes[size] = 0;
  fclose(file);
  if (length != NULL) *length = (size_t)size;
  return bytes;
}

/* The content of a file below a root is this text. */
static inline void check_content(const char *root, const char *name, const char *expected) {
  char path[4096], *content;
  snprintf(path, sizeof path, "%s/%s", root, name);
  content = slurp(path, NULL);
  CHECK_TEXT(content, expected);
  free(content);
}

static inline ocilayer_source *from_path(const char *path) {
  ocilayer_source *source = NULL;
  CHECK_INT(ocilayer_source_from_path(path, &source, NULL), 0);
  return source;
}

/* Unpacks and frees the source; a failure is printed, as it is of use when it is unexpected. */
static inline int unpack_and_free(ocilayer_source *source, const char *root,
                                  const ocilayer_options *options, ocilayer_report **report,
                                  ocilayer_error **error) {
  ocilayer_error *own = NULL;
  int result = unpack_layer(source, root, options, report, &own);
  ocilayer_source_free(source);
  CHECK((result == 0) == (own == NULL));
  if (own != NULL) {
    CHECK_INT(ocilayer_error_errno(own), -result);
    printf("unpack_layer: %d, kind %u: %s\n", result, (unsigned)ocilayer_error_kind(own),
           ocilayer_error_message(own));
    fflush(stdout);
  }
  if (error != NULL) {
    *error = own;
  } else {
    ocilayer_error_free(own);
  }
  return result;
}

#endif
