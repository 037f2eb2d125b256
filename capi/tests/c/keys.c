/*
 * An encrypted image, opened without a key, with a wrong one and with the right one, which is given as a
 * password and as the bytes of a key file.
 */
#include <string.h>

#include "check.h"
#include "volfold.h"

#define OK(call) CHECK((call) == VOLFOLD_STATUS_OK)

/* Opens `path` with a key of `kind`, NULL for none; whether its only volume is open then. */
static int opens(const char *path, const char *key, uint32_t kind)
{
    VolfoldOptions *options = NULL;
    VolfoldSet *set = NULL;
    VolfoldVolume *volume = NULL;
    const VolfoldVolumeInfo *info = NULL;
    unsigned char bytes[512];
    size_t count = 0;
    int is_open;
    OK(volfold_options_new(&options));
    if (key != NULL) {
        OK(volfold_options_add_key(options, kind, key, strlen(key)));
    }
    OK(volfold_set_open(options, &path, 1, &set));
    OK(volfold_options_free(options));
    OK(volfold_set_volume_count(set, &count));
    CHECK(count == 1);
    OK(volfold_set_volume(set, 0, &volume));
    OK(volfold_volume_info(volume, &info));
    is_open = !info->locked;
    OK(volfold_free(info));
    if (is_open) {
        VolfoldFile *file = NULL;
        OK(volfold_file_open(volume, "/README.txt", VOLFOLD_NUL_TERMINATED, NULL, 0, &file));
        OK(volfold_file_read(file, 0, bytes, sizeof bytes, &count));
        CHECK(count > 14 && memcmp(bytes, "A test volume.", 14) == 0);
        OK(volfold_file_close(file));
    } else {
        CHECK(volfold_volume_read(volume, 0, bytes, sizeof bytes) == VOLFOLD_STATUS_REFUSED);
    }
    OK(volfold_set_close(set));
    return is_open;
}

int main(int count, char **words)
{
    CHECK(count == 3);
    CHECK(!opens(words[1], NULL, VOLFOLD_KEY_PASSWORD));
    CHECK(!opens(words[1], "wrong", VOLFOLD_KEY_PASSWORD));
    CHECK(!opens(words[1], words[2], VOLFOLD_KEY_RECOVERY));
    CHECK(opens(words[1], words[2], VOLFOLD_KEY_PASSWORD));
    CHECK(opens(words[1], words[2], VOLFOLD_KEY_FILE));
    puts("done");
    return 0;
}
