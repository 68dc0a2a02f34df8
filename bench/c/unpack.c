/* SPDX-License-Identifier: Apache-2.0 */
/* unpack LAYER ROOT: applies a layer with as many threads as there are CPUs, and prints the diffID. */
#include <ocilayer.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    ocilayer_source *source = NULL;
    ocilayer_report *report = NULL;
    ocilayer_error *error = NULL;
    ocilayer_options options = OCILAYER_OPTIONS_INIT;

    if (argc != 3) {
        fprintf(stderr, "usage: unpack LAYER ROOT\n");
        return 2;
    }
    if (ocilayer_source_from_path(argv[1], &source, &error) == 0 &&
        unpack_layer(source, argv[2], &options, &report, &error) == 0)
        printf("%s\n", ocilayer_report_diff_id(report));
    else
        fprintf(stderr, "unpack: %s\n", ocilayer_error_message(error));
    ocilayer_report_free(report);
    ocilayer_source_free(source);
    int failed = error != NULL;
    ocilayer_error_free(error);
    return failed;
}
