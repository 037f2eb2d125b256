/*
 * Four threads with one set: two read files, one lists, one opens and closes other sets, while the first
 * set is closed under them. Each call is done or refused, and what is read is right.
 */
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "volfold.h"

enum { ROUNDS = 200 };

static const char *path;
static VolfoldSet *shared;
static VolfoldVolume *volume;

/* Whether a call was done; else it was refused because its handle is closed. */
static int is_done(VolfoldStatus status)
{
    if (status == VOLFOLD_STATUS_OK) {
        return 1;
    }
    CHECK(status == VOLFOLD_STATUS_INVALID_HANDLE);
    CHECK(strlen(volfold_error_message()) > 0);
    return 0;
}

static void *read_files(void *expected)
{
    unsigned char bytes[4096];
    size_t count = 0, round;
    for (round = 0; round < ROUNDS; round++) {
        VolfoldFile *file = NULL;
        if (!is_done(volfold_file_open(volume, "/README.txt", VOLFOLD_NUL_TERMINATED, NULL, 0,
                                       &file))) {
            return NULL;
        }
        if (is_done(volfold_file_read(file, 0, bytes, sizeof bytes, &count))) {
            CHECK(count == strlen(expected) && memcmp(bytes, expected, count) == 0);
        }
        is_done(volfold_file_close(file));
    }
    return NULL;
}

static void *list(void *unused)
{
    size_t round;
    (void)unused;
    for (round = 0; round < ROUNDS; round++) {
        VolfoldDirectory *walk = NULL;
        const VolfoldEntry *entry = NULL;
        if (!is_done(volfold_walk_open(volume, "/", 1, &walk))) {
            return NULL;
        }
        for (;;) {
            VolfoldStatus status = volfold_directory_next(walk, &entry);
            if (status == VOLFOLD_STATUS_END || !is_done(status)) {
                break;
            }
            CHECK(entry->path.length > 1);
            CHECK(volfold_free(entry) == VOLFOLD_STATUS_OK);
        }
        is_done(volfold_directory_close(walk));
    }
    return NULL;
}

static void *open_others(void *unused)
{
    size_t round, count;
    (void)unused;
    for (round = 0; round < ROUNDS / 10; round++) {
        VolfoldSet *set = NULL;
        CHECK(volfold_set_open(NULL, &path, 1, &set) == VOLFOLD_STATUS_OK);
        CHECK(volfold_set_volume_count(set, &count) == VOLFOLD_STATUS_OK && count == 3);
        CHECK(volfold_set_close(set) == VOLFOLD_STATUS_OK);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[4];
    char expected[4096], again[4096];
    VolfoldFile *file = NULL;
    size_t count = 0, index, length;
    CHECK(argc == 2);
    path = argv[1];
    CHECK(volfold_set_open(NULL, &path, 1, &shared) == VOLFOLD_STATUS_OK);
    CHECK(volfold_set_find_volume(shared, "BOOT", &volume) == VOLFOLD_STATUS_OK);
    CHECK(volfold_file_open(volume, "/README.txt", VOLFOLD_NUL_TERMINATED, NULL, 0, &file) == 0);
    CHECK(volfold_file_read(file, 0, expected, sizeof expected - 1, &length) == 0);
    expected[length] = 0;
    CHECK(pthread_create(&threads[0], NULL, read_files, expected) == 0);
    CHECK(pthread_create(&threads[1], NULL, read_files, expected) == 0);
    CHECK(pthread_create(&threads[2], NULL, list, NULL) == 0);
    CHECK(pthread_create(&threads[3], NULL, open_others, NULL) == 0);
    /* About half of the work is done with the set open. */
    for (index = 0; index < ROUNDS; index++) {
        CHECK(volfold_file_read(file, 0, again, length, &count) == VOLFOLD_STATUS_OK);
        CHECK(count == length && memcmp(again, expected, length) == 0);
    }
    CHECK(volfold_set_close(shared) == VOLFOLD_STATUS_OK);
    CHECK(!is_done(volfold_file_read(file, 0, again, length, &count)));
    for (index = 0; index < 4; index++) {
        CHECK(pthread_join(threads[index], NULL) == 0);
    }
    puts("done");
    return 0;
}
