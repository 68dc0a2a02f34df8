/* SPDX-License-Identifier: Apache-2.0 */
/* Options of older and newer programs, and those that mean nothing. */
#include "check.h"

/* Programs that were compiled once count on these for ever. */
#define AT(type, field, expected) \
  typedef char type##_##field[offsetof(type, field) == (expected) ? 1 : -1]; \
  extern type##_##field *unused_##type##_##field
#if defined(__LP64__)
AT(ocilayer_options, size, 0);
AT(ocilayer_options, mode, 8);
AT(ocilayer_options, owners, 12);
AT(ocilayer_options, devices, 16);
AT(ocilayer_options, sync, 20);
AT(ocilayer_options, threads, 24);
AT(ocilayer_options, skip_blob_digest, 28);
AT(ocilayer_options, lowers, 32);
AT(ocilayer_options, lowers_count, 40);
AT(ocilayer_options, expected_blob_digest, 48);
AT(ocilayer_options, expected_diff_id, 56);
AT(ocilayer_options, uid_ranges, 64);
AT(ocilayer_options, uid_ranges_count, 72);
AT(ocilayer_options, gid_ranges, 80);
AT(ocilayer_options, gid_ranges_count, 88);
AT(ocilayer_options, cancel, 96);
AT(ocilayer_options, userdata, 104);
AT(ocilayer_options, filter, 112);
AT(ocilayer_options, progress, 120);
AT(ocilayer_options, warning, 128);
AT(ocilayer_options, limit_entries, 136);
AT(ocilayer_options, limit_bytes, 144);
AT(ocilayer_options, limit_ratio, 152);
AT(ocilayer_options, limit_path_bytes, 160);
AT(ocilayer_options, limit_path_depth, 168);
AT(ocilayer_options, limit_xattr_bytes, 176);
AT(ocilayer_options, limit_zstd_window_log, 184);
AT(ocilayer_options, upper, 192);
AT(ocilayer_options, limit_memory, 200);
AT(ocilayer_options, read_to, 208);
AT(ocilayer_options, compare, 212);
AT(ocilayer_options, lowers_later, 216);
typedef char options_as_a_whole[sizeof(ocilayer_options) == 224 ? 1 : -1];
AT(ocilayer_entry, layer, 100);
AT(ocilayer_progress, devices, 80);
AT(ocilayer_warning, layer, 60);
AT(ocilayer_id_range, count, 8);
#endif

static char *root;

/* An empty layer is one: whether the options are taken is all that matters. */
static void expect(const void *options, int expected, const char *in_message) {
  ocilayer_source *source = NULL;
  ocilayer_error *error = NULL;
  CHECK_INT(ocilayer_source_from_memory(NULL, 0, &source, NULL), 0);
  CHECK_INT(unpack_layer(source, root, (const ocilayer_options *)options, NULL, &error), expected);
  if (expected != 0) {
    CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_INVALID_ARGUMENT);
    if (strstr(ocilayer_error_message(error), in_message) == NULL) {
      CHECK_TEXT(ocilayer_error_message(error), in_message);
    }
    /* Refused options leave the source as it was. */
    CHECK_INT(unpack_layer(source, root, NULL, NULL, NULL), 0);
  }
  ocilayer_error_free(error);
  ocilayer_source_free(source);
}

/* A program from the future, with one field more. */
struct newer {
  ocilayer_options known;
  uint64_t future;
};

static void sizes(void) {
  ocilayer_options zero = OCILAYER_OPTIONS_INIT;
  struct newer newer;
  union {
    size_t size;
    unsigned char bytes[8192];
  } huge;
  size_t size;

  expect(NULL, 0, "");
  expect(&zero, 0, "");
  CHECK_INT(zero.size, sizeof zero);

  /* Older programs: what they lack counts as zero, though the memory behind is not theirs. */
  for (size = 32; size <= sizeof(ocilayer_options); size += 8) {
    unsigned char *exact = (unsigned char *)calloc(1, size);
    CHECK(exact != NULL);
    memcpy(exact, &size, sizeof size);
    expect(exact, 0, "");
    free(exact);
  }
  memset(&huge, 0xff, sizeof huge);
  memset(&huge, 0, 32);
  huge.size = 32;
  expect(&huge, 0, "");

  /* Sizes that nobody ever had. */
  for (size = 0; size < 32; size++) {
    zero.size = size;
    expect(&zero, -EINVAL, "options.size");
  }
  zero.size = 33;
  expect(&zero, -EINVAL, "options.size is 33");

  /* Newer programs: fine until they use what is not known here. */
  memset(&newer, 0, sizeof newer);
  newer.known.size = sizeof newer;
  expect(&newer, 0, "");
  newer.future = 1;
  expect(&newer, -E2BIG, "224 bytes");
  memset(&huge, 0, sizeof huge);
  huge.size = sizeof huge;
  expect(&huge, -E2BIG, "8192 bytes");
  huge.size = (size_t)-8;
  expect(&huge, -E2BIG, "bytes");
}

struct later {
  int calls, answer;
  const char *const *lowers;
  size_t count;
};

static int tell_lowers(void *userdata, const char *const **lowers, size_t *count) {
  struct later *later = (struct later *)userdata;
  later->calls++;
  *lowers = later->lowers;
  *count = later->count;
  return later->answer;
}

/* Parents that are told when they are needed. */
static void lowers_later(void) {
  const char *none[] = {NULL}, *parents[1];
  struct later later = {0, 0, NULL, 0};
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  parents[0] = root;
  options.lowers_later = tell_lowers;
  options.userdata = &later;
  expect(&options, -EINVAL, "lower directories are for the overlay modes");
  options.mode = OCILAYER_MODE_OVERLAY;
  options.lowers = parents;
  options.lowers_count = 1;
  expect(&options, -EINVAL, "options.lowers and options.lowers_later are both given");
  options.lowers = NULL;
  options.lowers_count = 0;
  CHECK_INT(later.calls, 0);
  expect(&options, 0, "");
  later.lowers = parents;
  later.count = 1;
  expect(&options, 0, "");
  CHECK_INT(later.calls, 2);
  later.answer = -ETIMEDOUT;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar")), root, &options, NULL, NULL), -ETIMEDOUT);
  later.answer = 7;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar")), root, &options, NULL, NULL), -EINVAL);
  later.answer = 0;
  later.lowers = none;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar")), root, &options, NULL, NULL), -EINVAL);
}

static void meaningless(void) {
  const char *none[] = {NULL};
  const ocilayer_id_range range = {0, 100000, 65536}, wraps = {0, 4294967290u, 10};
  const ocilayer_options zero = OCILAYER_OPTIONS_INIT;
  ocilayer_options options;

#define REFUSED(field, value, message) \
  (options = zero, options.field = (value), expect(&options, -EINVAL, message))
  REFUSED(mode, 3, "options.mode is 3");
  REFUSED(owners, 3, "options.owners is 3");
  REFUSED(devices, 2, "options.devices is 2");
  REFUSED(sync, 0xffffffffu, "options.sync is 4294967295");
  REFUSED(skip_blob_digest, 2, "options.skip_blob_digest is 2");
  REFUSED(read_to, 2, "options.read_to is 2");
  REFUSED(compare, 2, "options.compare is 2");
  REFUSED(threads, 0xffffffffu, "threads");
  REFUSED(lowers_count, 1, "options.lowers is NULL");
  REFUSED(lowers, none, "lower directories are for the overlay modes");
  REFUSED(uid_ranges_count, 1, "options.uid_ranges is NULL");
  REFUSED(gid_ranges_count, 1, "options.gid_ranges is NULL");
  REFUSED(expected_blob_digest, "", "options.expected_blob_digest");
  REFUSED(expected_diff_id, "sha256:AA\xff", "options.expected_diff_id");
  REFUSED(limit_zstd_window_log, 9, "zstd window");
  REFUSED(limit_zstd_window_log, 1ull << 32, "options.limit_zstd_window_log");
#undef REFUSED

  options = zero;
  options.mode = OCILAYER_MODE_OVERLAY;
  options.lowers = none;
  expect(&options, 0, "");
  options.lowers_count = 1;
  expect(&options, -EINVAL, "options.lowers[0] is NULL");
  options.lowers_count = 0;
  options.upper = root;
  expect(&options, -EINVAL, "an upper directory is for directory mode");

  options = zero;
  options.uid_ranges = &range;
  options.uid_ranges_count = 1;
  expect(&options, -EINVAL, "OCILAYER_OWNERS_MAP");
  options.owners = OCILAYER_OWNERS_MAP;
  options.gid_ranges = &range;
  options.gid_ranges_count = 1;
  expect(&options, 0, "");
  options.gid_ranges = &wraps;
  expect(&options, -EINVAL, "ranges");
}

/* Each field reaches the library: what it makes tells. */
static void effects(void) {
  const ocilayer_id_range range = {0, 100000, 65536};
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  struct stat found;
  char path[4096];

  options.owners = OCILAYER_OWNERS_MAP;
  options.uid_ranges = options.gid_ranges = &range;
  options.uid_ranges_count = options.gid_ranges_count = 1;
  options.devices = OCILAYER_DEVICES_SKIP;
  options.sync = OCILAYER_SYNC_FILES;
  options.threads = 1;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar.gz")), root, &options, NULL, NULL), 0);
  snprintf(path, sizeof path, "%s/etc/motd", root);
  CHECK(lstat(path, &found) == 0);
  CHECK_INT(found.st_uid, 100000);
  CHECK_INT(found.st_gid, 100000);
  CHECK(!exists(root, "null"));

  options.owners = OCILAYER_OWNERS_IGNORE;
  options.uid_ranges_count = options.gid_ranges_count = 0;
  options.devices = OCILAYER_DEVICES_CREATE;
  options.sync = OCILAYER_SYNC_FILESYSTEM;
  CHECK_INT(unpack_and_free(from_path(layer("plain.tar.gz")), root, &options, NULL, NULL), 0);
  CHECK(lstat(path, &found) == 0);
  CHECK_INT(found.st_uid, 0);
  CHECK(exists(root, "null"));
}

int main(void) {
  need_root();
  root = make_root();
  sizes();
  meaningless();
  lowers_later();
  /* Parts of layers are in there. */
  remove_root(root);
  root = make_root();
  effects();
  remove_root(root);
  return 0;
}
