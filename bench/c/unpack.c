/* SPDX-License-Identifier: Apache-2.0 */
/* unpack ROOT LAYER...: applies layers, one upon the other, with as many threads as there are CPUs, and
 * prints a diffID for each. */
#include <ocilayer.h>
#include <stdio.h>

static int unpack(const char *root, const char *layer)
{
    ocilayer_source *source = NULL;
    ocilayer_report *report = NULL;
    ocilayer_error *error = NULL;
    ocilayer_options options = OCILAYER_OPTIONS_INIT;

    /* containerd's applier makes no digest of the blob either. */
    options.skip_blob_digest = 1;
    if (ocilayer_source_from_path(layer, &source, &error) == 0 &&
        unpack_layer(source, root, &options, &report, &error) == 0)
        printf("%s\n", ocilayer_report_diff_id(report));
    else
        fprintf(stderr, "unpack: %s: %s\n", layer, ocilayer_error_message(error));
    ocilayer_report_free(report);
    ocilayer_source_free(source);
    int failed = error != NULL;
    ocilayer_error_free(error);
    return failed;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: unpack ROOT LAYER...\n");
        return 2;
    }
    for (int i = 2; i < argc; i++)
        if (unpack(argv[1], argv[i]))
            return 1;
    return 0;
}
