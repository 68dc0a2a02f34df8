/* SPDX-License-Identifier: Apache-2.0 */
/* The library is the one that the header belongs to. */
#include "check.h"

int main(void) {
  char version[64];
  snprintf(version, sizeof version, "%d.%d.%d", OCILAYER_VERSION_MAJOR, OCILAYER_VERSION_MINOR,
           OCILAYER_VERSION_PATCH);
  CHECK_TEXT(ocilayer_version(), OCILAYER_VERSION_STRING);
  CHECK(strncmp(OCILAYER_VERSION_STRING, version, strlen(version)) == 0);
  return 0;
}
