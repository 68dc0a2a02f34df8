/* SPDX-License-Identifier: Apache-2.0 */
/* The library is the one that the header belongs to. */
#include "check.h"

int main(void) {
  char version[64];
  snprintf(version, sizeof version, "%d.%d.%d", OCILAYER_VERSION_MAJOR, OCILAYER_VERSION_MINOR,
           OCILAYER_VERSION_PATCH);
  CHECK_TEXT(ocilayer_version(), OCILAYER_VERSION_STRING);
  CHECK(strncmp(OCILAYER_VERSION_STRING, version, strlen(version)) == 0);
  CHECK(ocilayer_version_number() == OCILAYER_VERSION_NUMBER);
  CHECK(OCILAYER_VERSION_NUMBER / 10000 == OCILAYER_VERSION_MAJOR);
  CHECK(strcmp(ocilayer_gzip_backend(), "isa-l") == 0 || strcmp(ocilayer_gzip_backend(), "zlib-rs") == 0);
  CHECK_TEXT(ocilayer_error_kind_name(OCILAYER_ERROR_NONE), "none");
  CHECK_TEXT(ocilayer_error_kind_name(OCILAYER_ERROR_UNSUPPORTED), "unsupported");
  CHECK_TEXT(ocilayer_error_kind_name(1000), "unknown");
  /* The names that begin as the library's do are the same functions. */
  ocilayer_error *one = NULL, *other = NULL;
  CHECK(unpack_layer(NULL, NULL, NULL, NULL, &one) == ocilayer_unpack_layer(NULL, NULL, NULL, NULL, &other));
  CHECK_TEXT(ocilayer_error_message(one), ocilayer_error_message(other));
  ocilayer_error_free(one);
  ocilayer_error_free(other);
  CHECK(check_overlay_opaque_propagation(NULL, NULL, NULL) ==
        ocilayer_check_overlay_opaque_propagation(NULL, NULL, NULL));
  ocilayer_read_fn read = NULL;
  ocilayer_read same = read;
  CHECK(same == NULL);
  return 0;
}
