/* SPDX-License-Identifier: Apache-2.0 */
/* Another thread cancels an unpack, also one that waits for bytes that never come. */
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>

static ocilayer_cancel *token(void) {
  ocilayer_cancel *cancel = NULL;
  CHECK_INT(ocilayer_cancel_new(&cancel, NULL), 0);
  CHECK(!ocilayer_cancel_is_set(cancel));
  return cancel;
}

static void is_cancelled(ocilayer_source *source, const ocilayer_cancel *cancel) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_report *report = NULL;
  ocilayer_error *error = NULL;
  char *root = make_root();
  options.cancel = cancel;
  CHECK_INT(unpack_and_free(source, root, &options, &report, &error), -ECANCELED);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_CANCELLED);
  CHECK(report == NULL || ocilayer_report_partial(report));
  CHECK(ocilayer_cancel_is_set(cancel));
  ocilayer_report_free(report);
  ocilayer_error_free(error);
  remove_root(root);
}

/* A read callback that blocks on a pipe and says when it does. */
struct blocked {
  int pipe, said;
  const ocilayer_cancel *cancel;
};

static int read_pipe(void *userdata, uint8_t *buffer, size_t length, size_t *got) {
  struct blocked *blocked = (struct blocked *)userdata;
  struct pollfd fds[2];
  ssize_t count;
  fds[0].fd = blocked->pipe;
  fds[1].fd = ocilayer_cancel_fd(blocked->cancel);
  fds[0].events = fds[1].events = POLLIN;
  CHECK(write(blocked->said, "!", 1) == 1);
  while (poll(fds, 2, -1) < 0) CHECK(errno == EINTR);
  if (fds[1].revents != 0) return -ECANCELED;
  count = read(blocked->pipe, buffer, length);
  if (count < 0) return -errno;
  *got = (size_t)count;
  return 0;
}

struct canceller {
  int heard;
  const ocilayer_cancel *cancel;
};

static void *cancel_when_told(void *argument) {
  struct canceller *canceller = (struct canceller *)argument;
  char byte;
  CHECK(read(canceller->heard, &byte, 1) == 1);
  ocilayer_cancel_now(canceller->cancel);
  ocilayer_cancel_now(canceller->cancel);
  return NULL;
}

static void a_read_callback_that_blocks(void) {
  ocilayer_cancel *cancel = token();
  ocilayer_source *source = NULL;
  struct canceller canceller;
  struct blocked blocked;
  pthread_t thread;
  int never[2], told[2];
  CHECK(pipe(never) == 0 && pipe(told) == 0);
  blocked.pipe = never[0];
  blocked.said = told[1];
  canceller.heard = told[0];
  blocked.cancel = canceller.cancel = cancel;
  CHECK(pthread_create(&thread, NULL, cancel_when_told, &canceller) == 0);
  CHECK_INT(ocilayer_source_from_reader(read_pipe, &blocked, &source, NULL), 0);
  is_cancelled(source, cancel);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(close(never[0]) == 0 && close(never[1]) == 0 && close(told[0]) == 0 && close(told[1]) == 0);
  ocilayer_cancel_free(cancel);
}

/* The library took all there is, so it waits for more, or soon will. */
static void *cancel_when_drained(void *argument) {
  struct canceller *canceller = (struct canceller *)argument;
  int left = 1;
  while (left > 0) CHECK(ioctl(canceller->heard, FIONREAD, &left) == 0 && usleep(1000) == 0);
  ocilayer_cancel_now(canceller->cancel);
  return NULL;
}

static void a_pipe_that_is_stuck(void) {
  ocilayer_cancel *cancel = token();
  ocilayer_source *source = NULL;
  struct canceller canceller;
  pthread_t thread;
  int ends[2], fd = open(layer("many.tar"), O_RDONLY | O_CLOEXEC);
  char start[5000];
  CHECK(pipe(ends) == 0 && read(fd, start, sizeof start) == (ssize_t)sizeof start);
  CHECK(write(ends[1], start, sizeof start) == (ssize_t)sizeof start);
  CHECK_INT(ocilayer_source_from_fd(ends[0], &source, NULL), 0);
  canceller.heard = ends[0];
  canceller.cancel = cancel;
  CHECK(pthread_create(&thread, NULL, cancel_when_drained, &canceller) == 0);
  is_cancelled(source, cancel);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(close(fd) == 0 && close(ends[0]) == 0 && close(ends[1]) == 0);
  ocilayer_cancel_free(cancel);
}

static void a_token_that_was_cancelled_before(void) {
  ocilayer_cancel *cancel = token();
  struct pollfd fd;
  fd.fd = ocilayer_cancel_fd(cancel);
  fd.events = POLLIN;
  CHECK(poll(&fd, 1, 0) == 0);
  ocilayer_cancel_now(cancel);
  CHECK(poll(&fd, 1, 0) == 1 && fd.revents == POLLIN);
  is_cancelled(from_path(layer("plain.tar.gz")), cancel);
  is_cancelled(from_path(layer("many.tar")), cancel);
  ocilayer_cancel_free(cancel);
}

static int cancel_and_apply(void *userdata, const ocilayer_entry *entry) {
  if (entry->index == 1000) ocilayer_cancel_now((const ocilayer_cancel *)userdata);
  return 1;
}

static void from_within_a_callback(void) {
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_cancel *cancel = token();
  ocilayer_report *report = NULL;
  char *root = make_root();
  options.cancel = cancel;
  options.userdata = cancel;
  options.filter = cancel_and_apply;
  CHECK_INT(unpack_and_free(from_path(layer("many.tar")), root, &options, &report, NULL),
            -ECANCELED);
  CHECK(ocilayer_report_partial(report));
  CHECK(ocilayer_report_files(report) < 2000);
  ocilayer_report_free(report);
  ocilayer_cancel_free(cancel);
  remove_root(root);
}

int main(void) {
  need_root();
  a_read_callback_that_blocks();
  a_pipe_that_is_stuck();
  a_token_that_was_cancelled_before();
  from_within_a_callback();
  return 0;
}
