/* SPDX-License-Identifier: Apache-2.0 */
/* Each limit is reached by a layer that stays below the others. */
#include "check.h"

static void limited(const char *name, ocilayer_options options, int expected, const char *message) {
  ocilayer_error *error = NULL;
  char *root = make_root();
  CHECK_INT(unpack_and_free(from_path(layer(name)), root, &options, NULL, &error), expected);
  if (expected != 0) {
    CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_LIMIT);
    if (strstr(ocilayer_error_message(error), message) == NULL) {
      CHECK_TEXT(ocilayer_error_message(error), message);
    }
  }
  ocilayer_error_free(error);
  remove_root(root);
}

int main(void) {
  const ocilayer_options zero = OCILAYER_OPTIONS_INIT;
  ocilayer_options options;
  need_root();

#define LIMITED(name, field, below, enough, message) \
  (options = zero, options.field = (below), limited(name, options, -EFBIG, message), \
   options.field = (enough), limited(name, options, 0, ""))
  LIMITED("plain.tar.gz", limit_entries, 11, 12, "more than 11 entries");
  LIMITED("plain.tar.gz", limit_bytes, 3000000, 4000000, "the limit bytes is 3000000");
  LIMITED("plain.tar.gz", limit_path_depth, 2, 3, "path of 3 components");
  LIMITED("plain.tar.gz", limit_path_bytes, 11, 12, "path of 12 bytes");
  LIMITED("plain.tar.gz", limit_xattr_bytes, 10, 1000, "bytes of xattrs");
  LIMITED("plain.tar.gz", limit_memory, 512, 1 << 20, "bytes of memory");
  LIMITED("plain.tar.zst", limit_zstd_window_log, 10, 31, "window");
#undef LIMITED
  return 0;
}
