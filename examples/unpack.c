/* SPDX-License-Identifier: Apache-2.0 */
#include <ocilayer.h>
#include <stdio.h>
int main(void) {
  ocilayer_source *source = NULL; ocilayer_error *error = NULL;
  int failed = ocilayer_source_from_path("layer.tar.gz", &source, &error) ||
               unpack_layer(source, "rootfs", NULL, NULL, &error);
  if (failed) fprintf(stderr, "%s\n", ocilayer_error_message(error));
  ocilayer_source_free(source), ocilayer_error_free(error);
  return failed; }
