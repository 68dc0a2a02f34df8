/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel is asked about its overlayfs, and says why where it cannot answer. */
#include "check.h"

static void asks(const char *directory) {
  ocilayer_check *check = NULL;
  ocilayer_error *error = NULL;
  uint32_t verdict, way;
  bool propagates = false;
  CHECK_INT(check_overlay_opaque_propagation(directory, &check, &error), 0);
  CHECK(check != NULL && error == NULL);
  printf("%s\n%s\n", ocilayer_check_summary(check), ocilayer_check_json(check));
  verdict = ocilayer_check_verdict(check);
  CHECK(verdict <= OCILAYER_VERDICT_NOT_AFFECTED);
  CHECK((ocilayer_check_reason(check) != NULL) == (verdict == OCILAYER_VERDICT_UNKNOWN));
  CHECK((ocilayer_check_advice(check) != NULL) == (verdict == OCILAYER_VERDICT_AFFECTED));
  for (way = 0; way < 8; way++) propagates |= ocilayer_check_propagates(check, way);
  CHECK(propagates == (verdict == OCILAYER_VERDICT_AFFECTED));
  CHECK(strstr(ocilayer_check_json(check), "\"verdict\":") != NULL);
  CHECK(strstr(ocilayer_check_summary(check), directory ? directory : "/") != NULL);
  ocilayer_check_free(check);
}

int main(void) {
  ocilayer_check *check = NULL;
  ocilayer_error *error = NULL;
  char *root;
  need_root();
  root = make_root();
  asks(root);
  asks(NULL);
  CHECK_INT(check_overlay_opaque_propagation("/nonexistent", &check, &error), -ENOENT);
  CHECK(check == NULL);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_INVALID_ARGUMENT);
  ocilayer_error_free(error);
  CHECK_INT(check_overlay_opaque_propagation("/dev/null", &check, NULL), -ENOTDIR);
  /* Nothing is left in the directory: it can be removed as an empty one. */
  CHECK(rmdir(root) == 0);
  free(root);
  return 0;
}
