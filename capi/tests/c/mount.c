/* Mounts a set and reads a file of it as any program does. Arguments: a folder to be made, an image. */
#include <string.h>

#include "check.h"
#include "volfold.h"

int main(int argc, char **argv)
{
    VolfoldSet *set = NULL;
    const VolfoldMount *mount = NULL;
    const char *wanted = "BOOT", *image, *folder;
    char name[4096], mounted[4096], read[4096];
    VolfoldVolume *volume = NULL;
    VolfoldFile *file = NULL;
    size_t count = 0;
    FILE *host;
    VolfoldStatus status;
    CHECK(argc == 3);
    folder = argv[1];
    image = argv[2];
    CHECK(volfold_set_open(NULL, &image, 1, &set) == VOLFOLD_STATUS_OK);
    status = volfold_set_mount(set, folder, &wanted, 1, &mount);
    if (status != VOLFOLD_STATUS_OK) {
        fprintf(stderr, "%d: %s\n", (int)status, volfold_error_message());
        return 1;
    }
    CHECK(mount->volume_count == 1 && mount->volumes[0]->path_count > 0);
    CHECK(strcmp(mount->volumes[0]->name.bytes, "BOOT") == 0);
    snprintf(name, sizeof name, "%s/README.txt", mount->volumes[0]->paths[0].bytes);
    host = fopen(name, "rb");
    CHECK(host != NULL);
    memset(mounted, 0, sizeof mounted);
    CHECK(fread(mounted, 1, sizeof mounted - 1, host) > 0);
    fclose(host);
    CHECK(volfold_set_find_volume(set, "BOOT", &volume) == VOLFOLD_STATUS_OK);
    CHECK(volfold_file_open(volume, "/README.txt", VOLFOLD_NUL_TERMINATED, NULL, 0, &file) == 0);
    CHECK(volfold_file_read(file, 0, read, sizeof read, &count) == VOLFOLD_STATUS_OK);
    CHECK(count == strlen(mounted) && memcmp(read, mounted, count) == 0);
    /* It is mounted already, and stays so when the set is closed. */
    CHECK(volfold_set_mount(set, folder, NULL, 0, NULL) == VOLFOLD_STATUS_PROGRAM_FAILED);
    CHECK(volfold_set_close(set) == VOLFOLD_STATUS_OK);
    CHECK(volfold_free(mount) == VOLFOLD_STATUS_OK);
    host = fopen(name, "rb");
    CHECK(host != NULL);
    fclose(host);
    CHECK(volfold_unmount(NULL, folder, false) == VOLFOLD_STATUS_OK);
    CHECK(volfold_unmount(NULL, folder, false) == VOLFOLD_STATUS_PROGRAM_FAILED);
    CHECK(fopen(name, "rb") == NULL);
    puts("done");
    return 0;
}
