/* SPDX-License-Identifier: Apache-2.0 */
/* 16 threads unpack at once, with one set of options and one token between them. */
#include "check.h"

#include <pthread.h>

#define THREADS 16

static ocilayer_options options = OCILAYER_OPTIONS_INIT;
static pthread_barrier_t start;
static ocilayer_report *shared;

static void *unpack(void *argument) {
  static const char *const names[] = {"small.tar", "plain.tar.gz", "plain.tar.zst", "bad-entry.tar"};
  size_t number = *(size_t *)argument, round;
  pthread_barrier_wait(&start);
  for (round = 0; round < 4; round++) {
    const char *name = names[(number + round) % 4];
    bool bad = strcmp(name, "bad-entry.tar") == 0;
    char path[4096], *root = make_root();
    ocilayer_report *report = NULL;
    snprintf(path, sizeof path, "%s/%s", getenv("LAYERS"), name);
    CHECK_INT(unpack_and_free(from_path(path), root, &options, &report, NULL), bad ? -EINVAL : 0);
    CHECK(ocilayer_report_partial(report) == bad);
    CHECK(exists(root, strcmp(name, "small.tar") == 0 ? "motd" : bad ? "a" : "etc/motd"));
    ocilayer_report_free(report);
    remove_root(root);
    CHECK(strstr(ocilayer_report_json(shared), "\"partial\":false") != NULL);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[THREADS];
  size_t numbers[THREADS], i;
  ocilayer_cancel *cancel = NULL;
  char *root;
  need_root();
  root = make_root();
  CHECK_INT(ocilayer_cancel_new(&cancel, NULL), 0);
  options.cancel = cancel;
  CHECK_INT(unpack_and_free(from_path(layer("small.tar")), root, &options, &shared, NULL), 0);
  CHECK(pthread_barrier_init(&start, NULL, THREADS) == 0);
  for (i = 0; i < THREADS; i++) {
    numbers[i] = i;
    CHECK(pthread_create(&threads[i], NULL, unpack, &numbers[i]) == 0);
  }
  for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  pthread_barrier_destroy(&start);
  ocilayer_report_free(shared);
  ocilayer_cancel_free(cancel);
  remove_root(root);
  return 0;
}
