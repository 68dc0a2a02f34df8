/* SPDX-License-Identifier: Apache-2.0 */
/* A defect in the library is an error of its own kind: nothing is printed, the process goes on. */
#include "check.h"

/* Not in the header, and not in a library that is installed: see src/capi/test_hooks.rs. */
#ifdef __cplusplus
extern "C"
#endif
    int ocilayer_test_panic(int on_worker, ocilayer_error **error);

static void comes_out_as_an_error(int on_worker) {
  ocilayer_error *error = NULL;
  CHECK_INT(ocilayer_test_panic(on_worker, &error), -ENOTRECOVERABLE);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_PANIC);
  CHECK_INT(ocilayer_error_errno(error), ENOTRECOVERABLE);
  CHECK(strstr(ocilayer_error_message(error), "this was asked for") != NULL);
  ocilayer_error_free(error);
  CHECK_INT(ocilayer_test_panic(on_worker, NULL), -ENOTRECOVERABLE);
}

int main(void) {
  char printed[] = "/tmp/ocilayer-c-stderr-XXXXXX", *root;
  int file = mkstemp(printed), before = dup(2), result;
  struct stat info;
  need_root();
  CHECK(file >= 0 && unlink(printed) == 0 && before >= 0 && dup2(file, 2) == 2);
  comes_out_as_an_error(0);
  comes_out_as_an_error(1);
  CHECK(dup2(before, 2) == 2 && close(before) == 0);
  CHECK(fstat(file, &info) == 0);
  CHECK_INT(info.st_size, 0);
  CHECK(close(file) == 0);

  root = make_root();
  result = unpack_and_free(from_path(layer("plain.tar.gz")), root, NULL, NULL, NULL);
  CHECK_INT(result, 0);
  remove_root(root);
  return 0;
}
