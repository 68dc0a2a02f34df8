/* SPDX-License-Identifier: Apache-2.0 */
/* All layers of an image: of a layout, of an archive and of the caller; into a directory and a store. */
#include "check.h"

static ocilayer_image *opened(const char *name) {
  ocilayer_image *image = NULL;
  CHECK_INT(ocilayer_image_open(layer(name), NULL, NULL, NULL, &image, NULL), 0);
  CHECK_INT(ocilayer_image_layers(image), 2);
  return image;
}

static void failed(int result, ocilayer_error *error, int expected, unsigned kind) {
  CHECK_INT(result, expected);
  CHECK(error != NULL);
  printf("%s\n", ocilayer_error_message(error));
  fflush(stdout);
  CHECK_INT(ocilayer_error_kind(error), kind);
  CHECK_INT(ocilayer_error_errno(error), -expected);
  ocilayer_error_free(error);
}

/* A call that puts its error into the variable `error`. */
#define FAILED(call, expected, kind) \
  do { \
    int result = (call); \
    failed(result, error, (expected), (kind)); \
    error = NULL; \
  } while (0)

static void the_tree_is_there(const char *root) {
  check_content(root, "etc/motd", "hello\n");
  check_content(root, "etc/more", "more\n");
}

static void into_a_directory(const char *name) {
  ocilayer_image *image = opened(name);
  ocilayer_image_report *report = NULL;
  ocilayer_error *error = NULL;
  char *root = make_root();
  CHECK_INT(ocilayer_unpack_image(image, root, NULL, &report, NULL), 0);
  the_tree_is_there(root);
  CHECK_INT(ocilayer_image_report_layers(report), 2);
  CHECK_INT(ocilayer_report_files(ocilayer_image_report_layer(report, 1)), 1);
  CHECK(ocilayer_image_report_layer(report, 2) == NULL);
  CHECK(ocilayer_image_report_path(report, 0) == NULL);
  CHECK(ocilayer_image_report_lowerdir(report) == NULL);
  CHECK(strstr(ocilayer_image_report_json(report), "\"chain_id\"") != NULL);
  CHECK(strstr(ocilayer_image_report_json(report), "\"newest_first\":true") != NULL);
  ocilayer_image_report_free(report);
  /* It is not empty any more. */
  FAILED(ocilayer_unpack_image(image, root, NULL, &report, &error), -ENOTEMPTY,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  CHECK(report == NULL);
  ocilayer_image_free(image);
  remove_root(root);
}

struct heard {
  unsigned filtered[2], warned[2];
  unsigned long long layers, complete, bytes, size;
};

static int filter(void *userdata, const ocilayer_entry *entry) {
  struct heard *heard = (struct heard *)userdata;
  CHECK(entry->layer < 2);
  heard->filtered[entry->layer]++;
  return 1;
}

static void warning(void *userdata, const ocilayer_warning *warning) {
  struct heard *heard = (struct heard *)userdata;
  CHECK(warning->layer < 2);
  heard->warned[warning->layer]++;
}

static void progress(void *userdata, const ocilayer_progress *progress) {
  struct heard *heard = (struct heard *)userdata;
  CHECK(progress->size >= sizeof *progress);
  heard->layers = progress->layers;
  heard->complete = progress->layers_complete;
  heard->bytes = progress->blob_bytes;
  heard->size = progress->blob_size;
}

static void into_a_store(void) {
  ocilayer_image *image = opened("image.tar");
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  char *store = make_root(), *path;
  int again;
  options.mode = OCILAYER_MODE_OVERLAY;
  options.threads = 2;
  options.filter = filter;
  options.warning = warning;
  options.progress = progress;
  for (again = 0; again < 2; again++) {
    ocilayer_image_report *report = NULL;
    struct heard heard;
    memset(&heard, 0, sizeof heard);
    options.userdata = &heard;
    CHECK_INT(ocilayer_unpack_image(image, store, &options, &report, NULL), 0);
    CHECK((ocilayer_image_report_layer(report, 0) == NULL) == again);
    CHECK((heard.filtered[0] > 5 && heard.filtered[1] == 2) == !again);
    CHECK((heard.warned[0] > 0) == !again);
    CHECK(heard.layers == 2 && heard.complete == 2);
    CHECK(heard.size > 0 && heard.bytes == heard.size);
    check_content(ocilayer_image_report_path(report, 0), "etc/motd", "hello\n");
    check_content(ocilayer_image_report_path(report, 1), "etc/more", "more\n");
    CHECK(asprintf(&path, "%s:%s", ocilayer_image_report_path(report, 1),
                   ocilayer_image_report_path(report, 0)) > 0);
    CHECK_TEXT(ocilayer_image_report_lowerdir(report), path);
    free(path);
    CHECK(strstr(ocilayer_image_report_path(report, 1),
                 ocilayer_image_chain_id(image, 1) + strlen("sha256:")) != NULL);
    ocilayer_image_report_free(report);
  }
  ocilayer_image_free(image);
  remove_root(store);
}

static void of_the_caller(void) {
  char *plain = slurp(layer("plain.tar.sha256"), NULL), *root = make_root();
  char *upper = slurp(layer("upper.tar.sha256"), NULL);
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  ocilayer_image *image = NULL, *other = opened("image");
  ocilayer_source *source = from_path(layer("plain.tar.zst"));
  ocilayer_error *error = NULL;
  CHECK_INT(ocilayer_image_new(&image, NULL), 0);
  CHECK_INT(ocilayer_image_layers(image), 0);
  FAILED(ocilayer_image_add(image, source, NULL, NULL, &error), -EINVAL,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  FAILED(ocilayer_image_add(other, source, NULL, plain, &error), -EINVAL,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  CHECK_INT(ocilayer_image_add(image, source, NULL, plain, NULL), 0);
  FAILED(ocilayer_image_add(image, source, NULL, plain, &error), -EINVAL,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  ocilayer_source_free(source);
  source = from_path(layer("upper.tar"));
  CHECK_INT(ocilayer_image_add(image, source, upper, upper, NULL), 0);
  ocilayer_source_free(source);
  CHECK_INT(ocilayer_image_layers(image), 2);
  CHECK_TEXT(ocilayer_image_chain_id(image, 0), plain);
  CHECK_TEXT(ocilayer_image_chain_id(image, 1), ocilayer_image_chain_id(other, 1));
  CHECK(ocilayer_image_digest(image, 0) == NULL);
  CHECK_TEXT(ocilayer_image_digest(image, 1), upper);
  CHECK_TEXT(ocilayer_image_diff_id(image, 1), upper);
  CHECK(ocilayer_image_diff_id(image, 2) == NULL);
  /* What is about one layer is refused before the sources are used up. */
  options.expected_diff_id = plain;
  FAILED(ocilayer_unpack_image(image, root, &options, NULL, &error), -EINVAL,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  options.expected_diff_id = NULL;
  CHECK_INT(ocilayer_unpack_image(image, root, &options, NULL, NULL), 0);
  the_tree_is_there(root);
  remove_root(root);
  root = make_root();
  FAILED(ocilayer_unpack_image(image, root, &options, NULL, &error), -EINVAL,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  ocilayer_image_free(image);
  ocilayer_image_free(other);
  remove_root(root);
  free(plain);
  free(upper);
}

static int never(void *userdata, uint8_t *buffer, size_t length, size_t *got) {
  (void)userdata, (void)buffer, (void)length, (void)got;
  return -EIO;
}

static void what_is_wrong_is_told(void) {
  char *upper = slurp(layer("upper.tar.sha256"), NULL), *store = make_root();
  ocilayer_image *image = NULL;
  ocilayer_source *source = NULL;
  ocilayer_error *error = NULL;
  ocilayer_options options = OCILAYER_OPTIONS_INIT;
  FAILED(ocilayer_image_open(layer("plain.tar"), NULL, NULL, NULL, &image, &error), -EINVAL,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  FAILED(ocilayer_image_open(layer("image"), "other", NULL, NULL, &image, &error), -ENOENT,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  FAILED(ocilayer_image_open(layer("image"), NULL, NULL, "linux/s390x", &image, &error), -ENOENT, OCILAYER_ERROR_INVALID_ARGUMENT);
  FAILED(ocilayer_image_open(layer("image"), NULL, "sha256:1", NULL, &image, &error), -EINVAL, OCILAYER_ERROR_INVALID_ARGUMENT);
  FAILED(ocilayer_image_open(NULL, NULL, NULL, NULL, &image, &error), -EINVAL,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  CHECK(image == NULL);
  FAILED(ocilayer_unpack_image(NULL, store, NULL, NULL, &error), -EINVAL,
         OCILAYER_ERROR_INVALID_ARGUMENT);

  CHECK_INT(ocilayer_image_new(&image, NULL), 0);
  CHECK_INT(ocilayer_source_from_reader(never, NULL, &source, NULL), 0);
  FAILED(ocilayer_image_add(image, source, NULL, upper, &error), -EINVAL,
         OCILAYER_ERROR_INVALID_ARGUMENT);
  ocilayer_source_free(source);
  /* The second one is not what it should be: the first one is complete, and it is not there. */
  source = from_path(layer("upper.tar"));
  CHECK_INT(ocilayer_image_add(image, source, NULL, upper, NULL), 0);
  ocilayer_source_free(source);
  source = from_path(layer("small.tar"));
  CHECK_INT(ocilayer_image_add(image, source, NULL, upper, NULL), 0);
  ocilayer_source_free(source);
  options.mode = OCILAYER_MODE_OVERLAY;
  FAILED(ocilayer_unpack_image(image, store, &options, NULL, &error), -EBADMSG,
         OCILAYER_ERROR_DIGEST);
  CHECK(exists(store, "sha256"));
  CHECK_INT(ocilayer_image_layers(image), 2);
  ocilayer_image_free(image);
  remove_root(store);
  free(upper);
}

int main(void) {
  need_root();
  into_a_directory("image");
  into_a_directory("image.tar");
  into_a_store();
  of_the_caller();
  what_is_wrong_is_told();
  return 0;
}
