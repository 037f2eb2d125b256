/* Bad use of volfold.h: each is a status, and none a crash. Arguments: an image, and one that is none. */
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "volfold.h"

#define IS(call, status) CHECK((call) == (status))
#define OK(call) IS(call, VOLFOLD_STATUS_OK)
#define BAD_HANDLE VOLFOLD_STATUS_INVALID_HANDLE
#define BAD_ARGUMENT VOLFOLD_STATUS_INVALID_ARGUMENT
#define NUL VOLFOLD_NUL_TERMINATED

static VolfoldSet *open_set(const char *path)
{
    VolfoldSet *set = NULL;
    OK(volfold_set_open(NULL, &path, 1, &set));
    CHECK(set != NULL);
    return set;
}

static void wrong_handles(VolfoldSet *set)
{
    int local = 0;
    void *wrong[] = {NULL, &local, (void *)1, (void *)3, (void *)UINTPTR_MAX, malloc(16)};
    size_t index, count = 7;
    VolfoldVolume *volume = NULL;
    for (index = 0; index < sizeof wrong / sizeof *wrong; index++) {
        void *bad = wrong[index];
        unsigned char byte;
        uint64_t size;
        const VolfoldEntry *entry;
        if (bad == (void *)set) {
            continue;
        }
        IS(volfold_set_close(bad), BAD_HANDLE);
        IS(volfold_set_volume_count(bad, &count), BAD_HANDLE);
        IS(volfold_set_volume(bad, 0, &volume), BAD_HANDLE);
        IS(volfold_disk_read(bad, 0, 0, &byte, 1), BAD_HANDLE);
        IS(volfold_volume_read(bad, 0, &byte, 1), BAD_HANDLE);
        IS(volfold_volume_close(bad), BAD_HANDLE);
        IS(volfold_file_size(bad, &size), BAD_HANDLE);
        IS(volfold_file_close(bad), BAD_HANDLE);
        IS(volfold_directory_next(bad, &entry), BAD_HANDLE);
        IS(volfold_directory_close(bad), BAD_HANDLE);
        IS(volfold_options_set_cache_size(bad, 1), BAD_HANDLE);
        IS(volfold_options_free(bad), BAD_HANDLE);
        if (bad) {
            IS(volfold_free(bad), BAD_ARGUMENT);
        }
    }
    free(wrong[5]);
    CHECK(volume == NULL);
    /* A handle of another kind. */
    OK(volfold_set_volume(set, 0, &volume));
    IS(volfold_set_close((VolfoldSet *)volume), BAD_HANDLE);
    IS(volfold_volume_close((VolfoldVolume *)set), BAD_HANDLE);
    IS(volfold_free(set), BAD_ARGUMENT);
    OK(volfold_volume_close(volume));
    IS(volfold_volume_close(volume), BAD_HANDLE);
}

static void wrong_arguments(VolfoldSet *set, const char *path)
{
    const char *none = NULL, *empty = "";
    VolfoldSet *other = (VolfoldSet *)7;
    VolfoldVolume *volume = NULL;
    VolfoldFile *file = NULL;
    VolfoldStat stat;
    VolfoldExtent extent;
    VolfoldOptions *options = NULL;
    unsigned char bytes[16];
    size_t count = 0;
    uint64_t position = 0;
    IS(volfold_set_open(NULL, &path, 1, NULL), BAD_ARGUMENT);
    IS(volfold_set_open(NULL, NULL, 1, &other), BAD_ARGUMENT);
    CHECK(other == NULL);
    IS(volfold_set_open(NULL, &path, 0, &other), BAD_ARGUMENT);
    IS(volfold_set_open(NULL, &none, 1, &other), BAD_ARGUMENT);
    IS(volfold_set_open(NULL, &empty, 1, &other), BAD_ARGUMENT);
    IS(volfold_set_open(NULL, &path, SIZE_MAX, &other), BAD_ARGUMENT);
    IS(volfold_set_open((VolfoldOptions *)set, &path, 1, &other), BAD_HANDLE);
    IS(volfold_set_volume_count(set, NULL), BAD_ARGUMENT);
    IS(volfold_set_volume(set, SIZE_MAX, &volume), VOLFOLD_STATUS_OUT_OF_RANGE);
    IS(volfold_set_find_volume(set, "no such volume", &volume), VOLFOLD_STATUS_NOT_FOUND);
    IS(volfold_set_find_volume(set, "\xff", &volume), BAD_ARGUMENT);
    IS(volfold_set_find_volume(set, NULL, &volume), BAD_ARGUMENT);
    IS(volfold_disk_info(set, 99, (const VolfoldDiskInfo **)&file), VOLFOLD_STATUS_OUT_OF_RANGE);
    IS(volfold_disk_read(set, 0, UINT64_MAX, bytes, sizeof bytes), VOLFOLD_STATUS_OUT_OF_RANGE);
    CHECK(volfold_error_position(&position) && position == UINT64_MAX);
    CHECK(!volfold_error_position(NULL));
    IS(volfold_disk_read(set, 0, 0, NULL, 1), BAD_ARGUMENT);
    IS(volfold_disk_read(set, 0, 0, bytes, SIZE_MAX), BAD_ARGUMENT);
    OK(volfold_disk_read(set, 0, 0, NULL, 0));
    IS(volfold_disk_read_sectors(set, 0, UINT64_MAX, 2, bytes), VOLFOLD_STATUS_OUT_OF_RANGE);
    IS(volfold_disk_read_sectors(set, 0, 0, UINT64_MAX / 512, bytes), VOLFOLD_STATUS_OUT_OF_RANGE);
    IS(volfold_disk_extent(set, 0, UINT64_MAX, &extent), VOLFOLD_STATUS_OUT_OF_RANGE);
    IS(volfold_disk_extent(set, 0, 0, NULL), BAD_ARGUMENT);
    OK(volfold_set_find_volume(set, "BOOT", &volume));
    IS(volfold_file_open(volume, NULL, NUL, NULL, 0, &file), BAD_ARGUMENT);
    IS(volfold_file_open(volume, "/x", SIZE_MAX - 1, NULL, 0, &file), BAD_ARGUMENT);
    IS(volfold_file_open(volume, "/none", NUL, NULL, 0, &file), VOLFOLD_STATUS_NOT_FOUND);
    CHECK(strcmp(volfold_error_code(), "not-found") == 0);
    IS(volfold_file_open(volume, "/Documents", NUL, NULL, 0, &file), VOLFOLD_STATUS_IS_A_DIRECTORY);
    IS(volfold_file_open(volume, "/README.txt/x", NUL, NULL, 0, &file),
       VOLFOLD_STATUS_NOT_A_DIRECTORY);
    IS(volfold_file_open(volume, "/README.txt", NUL, NULL, 0, NULL), BAD_ARGUMENT);
    stat.struct_size = 0;
    IS(volfold_stat(volume, "/README.txt", NUL, true, &stat), BAD_ARGUMENT);
    IS(volfold_stat(volume, "/README.txt", NUL, true, NULL), BAD_ARGUMENT);
    OK(volfold_file_open(volume, "/../.././README.txt", NUL, NULL, 0, &file));
    IS(volfold_file_read(file, 0, bytes, sizeof bytes, NULL), BAD_ARGUMENT);
    OK(volfold_file_read(file, UINT64_MAX, bytes, sizeof bytes, &count));
    CHECK(count == 0);
    IS(volfold_file_extent(file, UINT64_MAX, &extent), VOLFOLD_STATUS_OUT_OF_RANGE);
    OK(volfold_options_new(&options));
    IS(volfold_options_add_key(options, 9, "x", 1), BAD_ARGUMENT);
    IS(volfold_options_add_key(options, VOLFOLD_KEY_PASSWORD, NULL, 1), BAD_ARGUMENT);
    OK(volfold_options_set_format(options, "no such format"));
    IS(volfold_set_open(options, &path, 1, &other), VOLFOLD_STATUS_INCOMPLETE);
    OK(volfold_set_close(other));
    IS(volfold_set_mount(set, NULL, NULL, 0, NULL), BAD_ARGUMENT);
    OK(volfold_options_set_program(options, "/nonexistent/volfold"));
    IS(volfold_unmount(options, "/nonexistent", false), VOLFOLD_STATUS_NO_PROGRAM);
    OK(volfold_options_free(options));
    IS(volfold_options_free(options), BAD_HANDLE);
    /* File and volume are closed with the set. */
}

static void freed_twice(VolfoldSet *set)
{
    const VolfoldDiskInfo *info = NULL;
    OK(volfold_disk_info(set, 0, &info));
    IS(volfold_free((const char *)info + 8), BAD_ARGUMENT);
    OK(volfold_free(info));
    IS(volfold_free(info), BAD_ARGUMENT);
    OK(volfold_free(NULL));
}

static void closed_before(const char *path)
{
    VolfoldSet *set = open_set(path);
    VolfoldVolume *volume = NULL;
    VolfoldFile *file = NULL;
    VolfoldDirectory *walk = NULL;
    const VolfoldEntry *entry = NULL;
    unsigned char byte;
    uint64_t size;
    OK(volfold_set_find_volume(set, "BOOT", &volume));
    OK(volfold_file_open(volume, "/README.txt", NUL, NULL, 0, &file));
    OK(volfold_walk_open(volume, "/", 1, &walk));
    OK(volfold_directory_next(walk, &entry));
    OK(volfold_set_close(set));
    IS(volfold_set_close(set), BAD_HANDLE);
    IS(volfold_volume_read(volume, 0, &byte, 1), BAD_HANDLE);
    IS(volfold_file_size(file, &size), BAD_HANDLE);
    IS(volfold_file_close(file), BAD_HANDLE);
    IS(volfold_volume_close(volume), BAD_HANDLE);
    OK(volfold_free(entry));
    IS(volfold_directory_next(walk, &entry), BAD_HANDLE);
    CHECK(entry == NULL);
    IS(volfold_set_volume(set, 0, &volume), BAD_HANDLE);
}

static void not_an_image(const char *image, const char *other)
{
    const char *paths[2];
    VolfoldSet *set = NULL;
    const VolfoldFailure *failure = NULL;
    size_t count = 0;
    paths[0] = image;
    paths[1] = other;
    IS(volfold_set_open(NULL, paths, 2, &set), VOLFOLD_STATUS_INCOMPLETE);
    CHECK(strstr(volfold_error_message(), other) != NULL);
    OK(volfold_set_failure_count(set, &count));
    CHECK(count == 1);
    OK(volfold_set_failure(set, 0, &failure));
    CHECK(failure->status == VOLFOLD_STATUS_CORRUPT ||
          failure->status == VOLFOLD_STATUS_UNSUPPORTED);
    CHECK(failure->code.length > 0 && failure->message.length > 0);
    CHECK(strcmp(failure->path.bytes, other) == 0);
    OK(volfold_free(failure));
    IS(volfold_set_failure(set, 1, &failure), VOLFOLD_STATUS_OUT_OF_RANGE);
    OK(volfold_set_volume_count(set, &count));
    CHECK(count == 3);
    OK(volfold_set_close(set));
}

struct watch {
    size_t calls, stop_at;
    VolfoldStage last;
    uint64_t last_done;
};

static bool on_progress(void *context, VolfoldStage stage, uint64_t done, uint64_t total)
{
    struct watch *watch = context;
    CHECK(done <= total && total < 100 && stage >= watch->last);
    /* What takes long is told again. */
    if (watch->calls > 0 && stage == watch->last && done == watch->last_done) {
        return true;
    }
    watch->last = stage;
    watch->last_done = done;
    return watch->calls++ != watch->stop_at;
}

/* A set that is stopped anywhere is none. */
static void stopped(const char *path)
{
    struct watch watch = {0, SIZE_MAX, VOLFOLD_STAGE_IMAGES, 0};
    VolfoldOptions *options;
    VolfoldSet *set;
    size_t calls;
    OK(volfold_options_new(&options));
    OK(volfold_options_set_progress(options, on_progress, &watch));
    OK(volfold_set_open(options, &path, 1, &set));
    OK(volfold_set_close(set));
    calls = watch.calls;
    CHECK(calls >= 8 && watch.last == VOLFOLD_STAGE_SYSTEMS);
    for (watch.stop_at = 0; watch.stop_at < calls; watch.stop_at++) {
        watch.calls = 0;
        watch.last = VOLFOLD_STAGE_IMAGES;
        set = (VolfoldSet *)1;
        IS(volfold_set_open(options, &path, 1, &set), VOLFOLD_STATUS_STOPPED);
        CHECK(set == NULL && strcmp(volfold_error_code(), "stopped") == 0);
        CHECK(watch.calls == watch.stop_at + 1);
    }
    OK(volfold_options_set_progress(options, NULL, NULL));
    OK(volfold_set_open(options, &path, 1, &set));
    OK(volfold_set_close(set));
    OK(volfold_options_free(options));
    IS(volfold_options_set_progress(options, on_progress, NULL), BAD_HANDLE);
}

int main(int argc, char **argv)
{
    VolfoldSet *set;
    CHECK(argc == 3);
    set = open_set(argv[1]);
    wrong_handles(set);
    wrong_arguments(set, argv[1]);
    freed_twice(set);
    OK(volfold_set_close(set));
    closed_before(argv[1]);
    not_an_image(argv[1], argv[2]);
    stopped(argv[1]);
    CHECK(strcmp(volfold_status_text(-5), "unknown status") == 0);
    puts("done");
    return 0;
}
