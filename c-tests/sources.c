/* SPDX-License-Identifier: Apache-2.0 */
/* A layer is the same wherever its bytes come from, and a failing reader says why. */
#include "check.h"

#include <pthread.h>

static char *blob;
static size_t blob_length;
static char *expected_digest;

/* What a read callback needs, with the ways in which it can go wrong. */
struct reader {
  size_t position, at_most, fail_at;
  int failure;
  size_t claim;
  pthread_t caller;
  unsigned calls;
};

static int read_blob(void *userdata, uint8_t *buffer, size_t length, size_t *got) {
  struct reader *reader = (struct reader *)userdata;
  size_t left = blob_length - reader->position;
  CHECK(pthread_equal(pthread_self(), reader->caller));
  CHECK(length > 0);
  reader->calls++;
  if (reader->failure != 0 && reader->position >= reader->fail_at) return reader->failure;
  if (reader->claim != 0) {
    *got = length + reader->claim;
    return 0;
  }
  if (length > left) length = left;
  if (reader->at_most != 0 && length > reader->at_most) length = reader->at_most;
  memcpy(buffer, blob + reader->position, length);
  reader->position += length;
  *got = length;
  return 0;
}

static void unpacks(ocilayer_source *source) {
  char *root = make_root();
  ocilayer_report *report = NULL;
  CHECK_INT(unpack_and_free(source, root, NULL, &report, NULL), 0);
  check_content(root, "motd", "hello\n");
  CHECK_TEXT(ocilayer_report_blob_digest(report), expected_digest);
  CHECK_INT(ocilayer_report_blob_bytes(report), (long long)blob_length);
  ocilayer_report_free(report);
  remove_root(root);
}

static ocilayer_source *from_fd(int fd) {
  ocilayer_source *source = NULL;
  CHECK_INT(ocilayer_source_from_fd(fd, &source, NULL), 0);
  return source;
}

static ocilayer_source *from_reader(struct reader *reader) {
  ocilayer_source *source = NULL;
  reader->caller = pthread_self();
  CHECK_INT(ocilayer_source_from_reader(read_blob, reader, &source, NULL), 0);
  return source;
}

static void *write_blob(void *end) {
  size_t done = 0;
  while (done < blob_length) {
    ssize_t written = write(*(int *)end, blob + done, blob_length - done);
    CHECK(written > 0);
    done += (size_t)written;
  }
  CHECK(close(*(int *)end) == 0);
  return NULL;
}

static void descriptors(void) {
  ocilayer_source *source;
  ocilayer_error *error = NULL;
  pthread_t writer;
  int ends[2], fd = open(layer("small.tar"), O_RDONLY | O_CLOEXEC);
  char behind[16];

  /* The library has one of its own: the caller's may be closed, and another file take its number. */
  source = from_fd(fd);
  CHECK(close(fd) == 0);
  CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) == fd);
  unpacks(source);
  CHECK(close(fd) == 0);

  /* From where it stands. */
  snprintf(behind, sizeof behind, "%s", "/tmp/ocl-XXXXXX");
  CHECK((fd = mkstemp(behind)) >= 0);
  CHECK(unlink(behind) == 0);
  CHECK(write(fd, "in front of it", 14) == 14);
  CHECK(write(fd, blob, blob_length) == (ssize_t)blob_length);
  CHECK(lseek(fd, 14, SEEK_SET) == 14);
  unpacks(from_fd(fd));
  CHECK(fcntl(fd, F_GETFD) >= 0);
  CHECK(close(fd) == 0);

  CHECK(pipe(ends) == 0);
  CHECK(pthread_create(&writer, NULL, write_blob, &ends[1]) == 0);
  unpacks(from_fd(ends[0]));
  CHECK(pthread_join(writer, NULL) == 0);
  CHECK(close(ends[0]) == 0);

  CHECK_INT(ocilayer_source_from_fd(-1, &source, &error), -EBADF);
  CHECK_INT(ocilayer_error_kind(error), OCILAYER_ERROR_SOURCE);
  CHECK(source == NULL);
  ocilayer_error_free(error);
  CHECK_INT(ocilayer_source_from_fd(1 << 30, &source, NULL), -EBADF);
}

static void readers_that_work(void) {
  struct reader all = {0, 0, 0, 0, 0, 0, 0}, one_byte = {0, 1, 0, 0, 0, 0, 0};
  unpacks(from_reader(&all));
  /* Large buffers: a call costs cgo users a lot. */
  CHECK(all.calls < 10);
  unpacks(from_reader(&one_byte));
  CHECK(one_byte.calls > blob_length);
}

static void readers_that_fail(void) {
  static const struct {
    size_t fail_at;
    int failure;
    size_t claim;
    int result;
    uint32_t kind;
  } cases[] = {
      {0, -EIO, 0, -EIO, OCILAYER_ERROR_CALLBACK},
      {1000, -EIO, 0, -EIO, OCILAYER_ERROR_CALLBACK},
      {1000, -ECONNRESET, 0, -ECONNRESET, OCILAYER_ERROR_CALLBACK},
      {1000, -4095, 0, -4095, OCILAYER_ERROR_CALLBACK},
      {0, EIO, 0, -EINVAL, OCILAYER_ERROR_CALLBACK},
      {0, -4096, 0, -EINVAL, OCILAYER_ERROR_CALLBACK},
      {0, -2147483647 - 1, 0, -EINVAL, OCILAYER_ERROR_CALLBACK},
      {0, 0, 1, -EINVAL, OCILAYER_ERROR_SOURCE},
      {0, 0, (size_t)1 << 62, -EINVAL, OCILAYER_ERROR_SOURCE},
  };
  size_t i;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct reader reader = {0, 512, 0, 0, 0, 0, 0};
    ocilayer_error *error = NULL;
    char *root = make_root();
    reader.fail_at = cases[i].fail_at;
    reader.failure = cases[i].failure;
    reader.claim = cases[i].claim;
    CHECK_INT(unpack_and_free(from_reader(&reader), root, NULL, NULL, &error), cases[i].result);
    CHECK_INT(ocilayer_error_kind(error), cases[i].kind);
    ocilayer_error_free(error);
    remove_root(root);
  }
}

static void an_empty_one_is_a_layer(void) {
  ocilayer_source *source = NULL;
  ocilayer_report *report = NULL;
  char *root = make_root();
  CHECK_INT(ocilayer_source_from_memory(NULL, 0, &source, NULL), 0);
  CHECK_INT(unpack_and_free(source, root, NULL, &report, NULL), 0);
  CHECK_INT(ocilayer_report_entries(report), 0);
  ocilayer_report_free(report);
  remove_root(root);
}

struct download {
  FILE *file;
  ocilayer_growth *growth;
};

static void *write_slowly(void *argument) {
  struct download *download = (struct download *)argument;
  size_t at;
  for (at = 0; at < blob_length; at += 700) {
    size_t piece = blob_length - at < 700 ? blob_length - at : 700;
    CHECK(fwrite(blob + at, 1, piece, download->file) == piece);
    CHECK(fflush(download->file) == 0);
    ocilayer_growth_reached(download->growth, at + piece);
  }
  ocilayer_growth_complete(download->growth);
  return NULL;
}

static void growing_files(void) {
  struct download download;
  ocilayer_source *source = NULL;
  pthread_t writer;
  int way;
  download.file = tmpfile();
  CHECK(download.file != NULL);
  CHECK_INT(ocilayer_source_growing(fileno(download.file), &source, &download.growth, NULL), 0);
  CHECK(pthread_create(&writer, NULL, write_slowly, &download) == 0);
  unpacks(source);
  CHECK(pthread_join(writer, NULL) == 0);
  ocilayer_growth_free(download.growth);

  /* The writer fails, or goes. */
  for (way = 0; way < 2; way++) {
    char *root = make_root();
    CHECK_INT(ocilayer_source_growing(fileno(download.file), &source, &download.growth, NULL), 0);
    ocilayer_growth_reached(download.growth, 100);
    if (way == 0) ocilayer_growth_fail(download.growth, -ECONNRESET);
    ocilayer_growth_free(download.growth);
    CHECK_INT(unpack_and_free(source, root, NULL, NULL, NULL), way == 0 ? -ECONNRESET : -EPIPE);
    remove_root(root);
  }
  CHECK_INT(ocilayer_source_growing(-1, &source, &download.growth, NULL), -EBADF);
  fclose(download.file);
}

int main(void) {
  ocilayer_source *source = NULL;
  need_root();
  blob = slurp(layer("small.tar"), &blob_length);
  expected_digest = slurp(layer("small.tar.sha256"), NULL);

  unpacks(from_path(layer("small.tar")));
  CHECK_INT(ocilayer_source_from_memory((const uint8_t *)blob, blob_length, &source, NULL), 0);
  unpacks(source);
  descriptors();
  readers_that_work();
  readers_that_fail();
  an_empty_one_is_a_layer();
  growing_files();

  /* Freed without a use. */
  ocilayer_source_free(from_path("/nonexistent"));
  source = from_fd(0);
  ocilayer_source_free(source);
  free(blob);
  free(expected_digest);
  return 0;
}
