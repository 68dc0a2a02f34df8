/* SPDX-License-Identifier: Apache-2.0 */
/* observe LAYER ROOT: unpacks without documentation, shows how far it is and what is left out, and
 * ends cleanly on ^C. */
#include <ocilayer.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static ocilayer_cancel *cancel;

/* Cancelling is allowed in a signal handler, and wakes a read that waits. */
static void on_interrupt(int signal_number) {
  (void)signal_number;
  ocilayer_cancel_now(cancel);
}

/* Names are as the archive has them: "./usr/share/doc" and "usr/share/doc" are the same. */
static int without_documentation(void *userdata, const ocilayer_entry *entry) {
  const char *path = strncmp(entry->path, "./", 2) == 0 ? entry->path + 2 : entry->path;
  (void)userdata;
  return strncmp(path, "usr/share/doc/", 14) != 0;
}

static void show_progress(void *userdata, const ocilayer_progress *progress) {
  (void)userdata;
  fprintf(stderr, "\r%llu entries, %llu of %llu bytes", (unsigned long long)progress->entries,
          (unsigned long long)progress->blob_bytes, (unsigned long long)progress->blob_size);
}

static void count_warning(void *userdata, const ocilayer_warning *warning) {
  (void)warning;
  ++*(unsigned *)userdata;
}

static void show_report(const ocilayer_report *report) {
  const ocilayer_skipped *skipped;
  size_t i;
  printf("%s%llu files in %.2f s, diffID %s\n", ocilayer_report_partial(report) ? "partial: " : "",
         (unsigned long long)ocilayer_report_files(report), ocilayer_report_wall_seconds(report),
         ocilayer_report_diff_id(report) ? ocilayer_report_diff_id(report) : "unknown");
  for (i = 0; (skipped = ocilayer_report_skipped(report, i)) != NULL; i++) {
    /* The names come from the archive: a program that prints them to a terminal escapes them. */
    printf("%llu times: %s, such as %s %s\n", (unsigned long long)ocilayer_skipped_count(skipped),
           ocilayer_skipped_text(skipped), ocilayer_skipped_path(skipped, 0, NULL),
           ocilayer_skipped_detail(skipped, 0, NULL));
  }
}

int main(int argc, char **argv) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_source *source = NULL;
  ocilayer_report *report = NULL;
  ocilayer_error *error = NULL;
  unsigned warnings = 0;
  int failed;

  if (argc != 3) {
    fprintf(stderr, "usage: %s LAYER ROOT\n", argv[0]);
    return 2;
  }
  failed = ocilayer_cancel_new(&cancel, &error) || ocilayer_source_from_path(argv[1], &source, &error);
  if (!failed) {
    signal(SIGINT, on_interrupt);
    options.cancel = cancel;
    options.userdata = &warnings;
    options.filter = without_documentation;
    options.progress = show_progress;
    options.warning = count_warning;
    failed = unpack_layer(source, argv[2], &options, &report, &error);
    signal(SIGINT, SIG_DFL);
    fprintf(stderr, "\n");
  }
  if (report != NULL) show_report(report);
  if (warnings > 0) printf("%u warnings\n", warnings);
  if (failed) fprintf(stderr, "%s\n", ocilayer_error_message(error));

  ocilayer_error_free(error);
  ocilayer_report_free(report);
  ocilayer_source_free(source);
  ocilayer_cancel_free(cancel);
  return failed != 0;
}
