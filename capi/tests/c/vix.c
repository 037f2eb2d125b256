/*
 * The way of a program that was written for VixDiskLib and VixMntapi: disks by VixDiskLib, their handles
 * as one set, its volumes, a mount, a file below symbolicLink, and all of it back.
 *
 * vix MODE FILE COUNT DISK...
 *
 * MODE is "mount" or "look", where volumes are not mounted. FILE is the file to be read on each volume,
 * COUNT how many volumes there are. The files' content goes to stdout, and where the guest has the volumes
 * to stderr.
 */
#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "vixMntapi.h"

enum { MAX_DISKS = 16 };

static unsigned lines;
static char last_line[1024];

static void on_log(const char *format, va_list arguments)
{
    vsnprintf(last_line, sizeof last_line, format, arguments);
    lines++;
}

static void ok(VixError error, const char *call, int line)
{
    if (VIX_FAILED(error)) {
        char *text = VixDiskLib_GetErrorText(error, NULL);
        fprintf(stderr, "line %d: %s: %" PRIu64 " %s\n", line, call, error, text);
        VixDiskLib_FreeErrorText(text);
        exit(1);
    }
}

#define OK(call) ok((call), #call, __LINE__)
#define IS(call, code) CHECK((call) == (code))

static uint8 async_bytes[4 * VIXDISKLIB_SECTOR_SIZE];
static int async_ended;

static void on_read(void *data, VixError result)
{
    CHECK(data == &async_ended && result == VIX_OK);
    async_ended = 1;
}

static void look_at_disk(VixDiskLibHandle disk)
{
    VixDiskLibInfo *info = NULL;
    VixDiskLibBlockList *blocks = NULL;
    uint8 sectors[4 * VIXDISKLIB_SECTOR_SIZE];
    char *keys, value[64];
    const char *key;
    size_t needed = 0, found = 0;
    uint64 chunks, space = 0, total = 0;
    uint32 index;
    OK(VixDiskLib_GetInfo(disk, &info));
    CHECK(info->capacity > 4 && info->numLinks >= 1 && info->logicalSectorSize >= 512);
    CHECK(info->physGeo.heads > 0 && info->biosGeo.sectors > 0);
    CHECK((info->numLinks > 1) == (info->parentFileNameHint != NULL));
    CHECK(strcmp(VixDiskLib_GetTransportMode(disk), "file") == 0);
    OK(VixDiskLib_Read(disk, 0, 4, sectors));
    async_ended = 0;
    IS(VixDiskLib_ReadAsync(disk, 0, 4, async_bytes, on_read, &async_ended), VIX_ASYNC);
    OK(VixDiskLib_Wait(disk));
    CHECK(async_ended && memcmp(sectors, async_bytes, sizeof sectors) == 0);
    IS(VixDiskLib_Read(disk, info->capacity, 1, sectors), VIX_E_DISK_OUTOFRANGE);
    IS(VixDiskLib_Read(disk, UINT64_MAX, UINT64_MAX, sectors), VIX_E_DISK_OUTOFRANGE);
    IS(VixDiskLib_ReadAsync(disk, info->capacity, 1, sectors, on_read, &async_ended),
       VIX_E_DISK_OUTOFRANGE);
    IS(VixDiskLib_Write(disk, 0, 1, sectors), VIX_E_FILE_READ_ONLY);
    chunks = info->capacity / VIXDISKLIB_MIN_CHUNK_SIZE;
    OK(VixDiskLib_QueryAllocatedBlocks(disk, 0, chunks * VIXDISKLIB_MIN_CHUNK_SIZE,
                                       VIXDISKLIB_MIN_CHUNK_SIZE, &blocks));
    for (index = 0; index < blocks->numBlocks; index++) {
        CHECK(blocks->blocks[index].length > 0);
        CHECK(blocks->blocks[index].offset % VIXDISKLIB_MIN_CHUNK_SIZE == 0);
        CHECK(index == 0 || blocks->blocks[index - 1].offset + blocks->blocks[index - 1].length <
                                blocks->blocks[index].offset);
        total += blocks->blocks[index].length;
    }
    CHECK(total <= info->capacity);
    OK(VixDiskLib_FreeBlockList(blocks));
    IS(VixDiskLib_FreeBlockList(blocks), VIX_E_INVALID_ARG);
    IS(VixDiskLib_QueryAllocatedBlocks(disk, 0, 1, 1, &blocks), VIX_E_INVALID_ARG);
    OK(VixDiskLib_SpaceNeededForClone(disk, VIXDISKLIB_DISK_MONOLITHIC_FLAT, &space));
    CHECK(space / VIXDISKLIB_SECTOR_SIZE == info->capacity);
    OK(VixDiskLib_SpaceNeededForClone(disk, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, &space));
    CHECK(space / VIXDISKLIB_SECTOR_SIZE >= total);
    IS(VixDiskLib_GetMetadataKeys(disk, NULL, 0, &needed), VIX_E_BUFFER_TOOSMALL);
    keys = malloc(needed);
    CHECK(keys != NULL);
    OK(VixDiskLib_GetMetadataKeys(disk, keys, needed, &needed));
    for (key = keys; *key; key += strlen(key) + 1) {
        size_t length = 0;
        VixError error = VixDiskLib_ReadMetadata(disk, key, value, sizeof value, &length);
        CHECK(length > sizeof value ? error == VIX_E_BUFFER_TOOSMALL
                                    : error == VIX_OK && strlen(value) + 1 == length);
        found += strcmp(key, "geometry.heads") == 0 || strcmp(key, "volfold.format") == 0;
    }
    CHECK(found == 2 && key + 1 == keys + needed);
    free(keys);
    IS(VixDiskLib_ReadMetadata(disk, "none", value, sizeof value, &needed),
       VIX_E_DISK_KEY_NOTFOUND);
    VixDiskLib_FreeInfo(info);
}

/* The pattern for read-only bases: a child is opened by itself and attached. */
static void attach_child(VixDiskLibConnection connection, const char *path, VixDiskLibHandle base,
                         VixDiskLibHandle *child)
{
    static char name[4096];
    uint8 sector[VIXDISKLIB_SECTOR_SIZE];
    snprintf(name, sizeof name, "%s.child", path);
    OK(VixDiskLib_CreateChild(base, name, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL));
    IS(VixDiskLib_CreateChild(base, name, VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL),
       VIX_E_FILE_ALREADY_LOCKED);
    OK(VixDiskLib_Open(connection, name, VIXDISKLIB_FLAG_OPEN_SINGLE_LINK, child));
    IS(VixDiskLib_Read(*child, 0, 1, sector), VIX_E_DISK_PARTIALCHAIN);
    IS(VixDiskLib_Attach(*child, base), VIX_E_DISK_ATTACH_ROOTLINK);
    OK(VixDiskLib_IsAttachPossible(base, *child));
    OK(VixDiskLib_Attach(base, *child));
    OK(VixDiskLib_Read(*child, 0, 1, sector));
    OK(VixDiskLib_Unlink(connection, name));
    IS(VixDiskLib_Unlink(connection, path), VIX_E_DISK_NOTSUPPORTED);
}

static int print_file(const char *link, const char *file)
{
    char name[4096], bytes[4096];
    size_t count;
    FILE *host;
    /* On Windows the link ends in a backslash, and names are appended at once. */
    snprintf(name, sizeof name, link[strlen(link) - 1] == '\\' ? "%s%s" : "%s/%s", link, file);
    host = fopen(name, "rb");
    if (!host) {
        return 0;
    }
    while ((count = fread(bytes, 1, sizeof bytes, host)) > 0) {
        fwrite(bytes, 1, count, stdout);
    }
    fclose(host);
    return 1;
}

static int visit(VixVolumeHandle volume, const char *file, int mounts)
{
    VixVolumeInfo *info = NULL;
    VixError error;
    int found = 0;
    size_t index;
    OK(VixMntapi_GetVolumeInfo(volume, &info));
    CHECK(!info->isMounted && info->symbolicLink == NULL && info->numGuestMountPoints == 0);
    CHECK(info->type >= VIXMNTAPI_UNKNOWN_VOLTYPE && info->type <= VIXMNTAPI_LVM_VOLUME);
    VixMntapi_FreeVolumeInfo(info);
    IS(VixMntapi_DismountVolume(volume, FALSE), VIX_E_MNTAPI_VOLUME_NOT_MOUNTED);
    IS(VixMntapi_MountVolume(volume, FALSE), VIX_E_MNTAPI_VOLUME_NOT_WRITABLE);
    if (!mounts) {
        return 0;
    }
    error = VixMntapi_MountVolume(volume, TRUE);
    if (error == VIX_E_MNTAPI_NO_MOUNTABLE_PARTITONS) {
        return 0;
    }
    OK(error);
    IS(VixMntapi_MountVolume(volume, TRUE), VIX_E_MNTAPI_VOLUME_ALREADY_MOUNTED);
    OK(VixMntapi_GetVolumeInfo(volume, &info));
    CHECK(info->isMounted == TRUE && info->symbolicLink != NULL);
    for (index = 0; index < info->numGuestMountPoints; index++) {
        fprintf(stderr, "place %s\n", info->inGuestMountPoints[index]);
    }
    found = print_file(info->symbolicLink, file);
    VixMntapi_FreeVolumeInfo(info);
    OK(VixMntapi_DismountVolume(volume, FALSE));
    return found;
}

int main(int argc, char **argv)
{
    VixDiskLibConnectParams params;
    VixDiskLibConnection connection = NULL;
    VixDiskLibHandle disks[MAX_DISKS];
    VixDiskSetHandle set = NULL, other = NULL;
    VixDiskSetInfo *set_info = NULL;
    VixVolumeHandle *volumes = NULL;
    VixOsInfo *system = NULL;
    VixError error;
    size_t count = 0, wanted, found = 0, number = (size_t)argc - 4, index;
    int mounts;
    CHECK(argc > 4 && number <= MAX_DISKS);
    mounts = strcmp(argv[1], "mount") == 0;
    wanted = (size_t)atoi(argv[3]);

    OK(VixDiskLib_InitEx(7, 0, on_log, on_log, on_log, NULL, NULL));
    IS(VixMntapi_Init(2, 0, NULL, NULL, NULL, NULL, NULL), VIX_E_MNTAPI_INCOMPATIBLE_VERSION);
    OK(VixMntapi_Init(1, 0, on_log, on_log, on_log, NULL, NULL));
    CHECK(strcmp(VixDiskLib_ListTransportModes(), "file") == 0);
    memset(&params, 0, sizeof params);
    OK(VixDiskLib_ConnectEx(&params, TRUE, NULL, "file:san:hotadd:nbd", &connection));
    for (index = 0; index < number; index++) {
        OK(VixDiskLib_Open(connection, argv[4 + index], VIXDISKLIB_FLAG_OPEN_READ_ONLY,
                           &disks[index]));
        look_at_disk(disks[index]);
        OK(VixDiskLib_CheckRepair(connection, argv[4 + index], FALSE));
    }
    {
        VixDiskLibHandle base = disks[0];
        attach_child(connection, argv[4], base, &disks[0]);
        OK(VixDiskLib_Close(base));
    }
    OK(VixMntapi_OpenDiskSet(disks, number, 0, &set));
    error = VixMntapi_GetOsInfo(set, &system);
    CHECK(error == VIX_OK || error == VIX_E_MNTAPI_UNSUPPROTED_OS);
    if (error == VIX_OK) {
        CHECK(system->vendor && system->edition && system->osFolder);
        VixMntapi_FreeOsInfo(system);
    }
    OK(VixMntapi_GetDiskSetInfo(set, &set_info));
    CHECK(set_info->openFlags & VIXDISKLIB_FLAG_OPEN_READ_ONLY && set_info->mountPath);
    VixMntapi_FreeDiskSetInfo(set_info);
    OK(VixMntapi_GetVolumeHandles(set, &count, &volumes));
    CHECK(count == wanted);
    for (index = 0; index < count; index++) {
        found += (size_t)visit(volumes[index], argv[2], mounts);
    }
    CHECK(found == (mounts ? count : 0));
    VixMntapi_FreeVolumeHandles(volumes);
    OK(VixMntapi_CloseDiskSet(set));
    IS(VixMntapi_CloseDiskSet(set), VIX_E_INVALID_HANDLE);

    /* The same by names; it is closed with the connection. */
    OK(VixMntapi_OpenDisks(connection, (const char **)(argv + 4), number, 4, &other));
    OK(VixMntapi_GetVolumeHandles(other, &count, &volumes));
    CHECK(count == wanted);
    for (index = 0; index < number; index++) {
        OK(VixDiskLib_Close(disks[index]));
    }
    OK(VixDiskLib_Disconnect(connection));
    IS(VixMntapi_MountVolume(volumes[0], TRUE), VIX_E_INVALID_HANDLE);
    VixMntapi_FreeVolumeHandles(volumes);
    IS(VixMntapi_CloseDiskSet(other), VIX_E_INVALID_HANDLE);
    VixMntapi_Exit();
    VixDiskLib_Exit();
    CHECK(lines > 0 && strncmp(last_line, "volfold: ", 9) == 0);
    return 0;
}
