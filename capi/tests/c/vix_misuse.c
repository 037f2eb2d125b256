/* Bad use of VixDiskLib and VixMntapi: each is a code, and none a crash. Argument: an image. */
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "vixMntapi.h"

#define IS(call, code) CHECK((call) == (code))
#define OK(call) IS(call, VIX_OK)

static char last_line[4096];

static void on_warn(const char *format, va_list arguments)
{
    va_list copy;
    va_copy(copy, arguments);
    vsnprintf(last_line, sizeof last_line, format, copy);
    va_end(copy);
}

static void on_read(void *data, VixError result)
{
    /* A callback cannot wait for itself. */
    IS(VixDiskLib_Wait(*(VixDiskLibHandle *)data), VIX_E_OBJECT_IS_BUSY);
    OK(result);
}

static void before_init(const char *path)
{
    VixDiskLibConnection connection = NULL;
    VixDiskSetHandle set = NULL;
    IS(VixDiskLib_Connect(NULL, &connection), VIX_E_DISK_NOINIT);
    IS(VixMntapi_OpenDisks(NULL, &path, 1, 0, &set), VIX_E_DISK_NOINIT);
    IS(VixMntapi_OpenDiskSet(NULL, 0, 0, &set), VIX_E_DISK_NOINIT);
    VixMntapi_Exit();
    VixDiskLib_Exit();
}

static void wrong_handles(void)
{
    int local = 0;
    void *wrong[] = {NULL, &local, (void *)1, (void *)(uintptr_t)0xdead, (void *)UINTPTR_MAX};
    size_t index;
    for (index = 0; index < sizeof wrong / sizeof *wrong; index++) {
        void *bad = wrong[index];
        VixDiskLibHandle disk = NULL;
        VixDiskLibInfo *info = NULL;
        VixDiskSetHandle set = NULL;
        VixVolumeInfo *volume = NULL;
        VixOsInfo *system = NULL;
        size_t count = 0;
        VixVolumeHandle *volumes = NULL;
        uint8 sector[512];
        IS(VixDiskLib_Open(bad, "x", 0, &disk), VIX_E_DISK_INVALID_CONNECTION);
        IS(VixDiskLib_Disconnect(bad), VIX_E_DISK_INVALID_CONNECTION);
        IS(VixDiskLib_Close(bad), VIX_E_INVALID_HANDLE);
        IS(VixDiskLib_Read(bad, 0, 1, sector), VIX_E_INVALID_HANDLE);
        IS(VixDiskLib_ReadAsync(bad, 0, 1, sector, on_read, NULL), VIX_E_INVALID_HANDLE);
        IS(VixDiskLib_GetInfo(bad, &info), VIX_E_INVALID_HANDLE);
        CHECK(VixDiskLib_GetTransportMode(bad) == NULL);
        IS(VixDiskLib_Attach(bad, bad), VIX_E_INVALID_HANDLE);
        IS(VixMntapi_OpenDiskSet((VixDiskLibHandle *)&bad, 1, 0, &set), VIX_E_INVALID_HANDLE);
        IS(VixMntapi_CloseDiskSet(bad), VIX_E_INVALID_HANDLE);
        IS(VixMntapi_GetVolumeHandles(bad, &count, &volumes), VIX_E_INVALID_HANDLE);
        IS(VixMntapi_GetOsInfo(bad, &system), VIX_E_INVALID_HANDLE);
        IS(VixMntapi_MountVolume(bad, TRUE), VIX_E_INVALID_HANDLE);
        IS(VixMntapi_DismountVolume(bad, TRUE), VIX_E_INVALID_HANDLE);
        IS(VixMntapi_GetVolumeInfo(bad, &volume), VIX_E_INVALID_HANDLE);
        /* What is no memory of the library is left alone. */
        VixDiskLib_FreeInfo(bad);
        VixDiskLib_FreeErrorText(bad);
        VixDiskLib_FreeConnectParams(bad);
        VixMntapi_FreeVolumeInfo(bad);
        VixMntapi_FreeVolumeHandles(bad);
        VixMntapi_FreeDiskSetInfo(bad);
        VixMntapi_FreeOsInfo(bad);
        if (bad) {
            IS(VixDiskLib_FreeBlockList(bad), VIX_E_INVALID_ARG);
        }
    }
}

static void wrong_arguments(VixDiskLibConnection connection, const char *path)
{
    VixDiskLibHandle disk = NULL, twice[2];
    VixDiskSetHandle set = NULL;
    VixDiskLibInfo *info = NULL;
    VixDiskLibConnectParams remote;
    VixDiskLibConnectParams *params = NULL;
    VixDiskLibConnection other = NULL;
    uint8 sector[512];
    char *text;
    const char *names[2];
    IS(VixDiskLib_Open(connection, NULL, 0, &disk), VIX_E_INVALID_ARG);
    IS(VixDiskLib_Open(connection, path, 0, NULL), VIX_E_INVALID_ARG);
    IS(VixDiskLib_Open(connection, path, 1u << 20, &disk), VIX_E_INVALID_ARG);
    IS(VixDiskLib_Open(connection, "/nonexistent/100%s.vmdk", 0, &disk), VIX_E_FILE_NOT_FOUND);
    CHECK(strstr(last_line, "100%s.vmdk") != NULL);
    text = VixDiskLib_GetErrorText(VIX_E_FILE_NOT_FOUND, NULL);
    CHECK(strstr(text, "100%s.vmdk") != NULL);
    VixDiskLib_FreeErrorText(text);
    VixDiskLib_FreeErrorText(text);
    text = VixDiskLib_GetErrorText(424242, NULL);
    CHECK(text != NULL && strlen(text) > 0);
    VixDiskLib_FreeErrorText(text);
    memset(&remote, 0, sizeof remote);
    remote.serverName = (char *)"server";
    IS(VixDiskLib_Connect(&remote, &other), VIX_E_NOT_SUPPORTED);
    IS(VixDiskLib_ConnectEx(NULL, TRUE, NULL, "nbdssl", &other), VIX_E_NOT_SUPPORTED);
    CHECK(other == NULL);
    params = VixDiskLib_AllocateConnectParams();
    CHECK(params != NULL && params->serverName == NULL);
    OK(VixDiskLib_Connect(params, &other));
    VixDiskLib_FreeConnectParams(params);
    VixDiskLib_FreeConnectParams(params);
    OK(VixDiskLib_GetConnectParams(other, &params));
    VixDiskLib_FreeConnectParams(params);
    OK(VixDiskLib_Disconnect(other));
    OK(VixDiskLib_Open(connection, path, 0, &disk));
    IS(VixDiskLib_Read(disk, 0, 1, NULL), VIX_E_INVALID_ARG);
    IS(VixDiskLib_ReadAsync(disk, 0, 1, sector, NULL, NULL), VIX_E_INVALID_ARG);
    IS(VixDiskLib_GetInfo(disk, NULL), VIX_E_INVALID_ARG);
    OK(VixDiskLib_GetInfo(disk, &info));
    /* Memory of another kind. */
    VixMntapi_FreeVolumeInfo((VixVolumeInfo *)info);
    VixDiskLib_FreeInfo(info);
    VixDiskLib_FreeInfo(info);
    twice[0] = twice[1] = disk;
    IS(VixMntapi_OpenDiskSet(twice, 2, 0, &set), VIX_E_MNTAPI_ALREADY_OPENED);
    IS(VixMntapi_OpenDiskSet(twice, 0, 0, &set), VIX_E_INVALID_ARG);
    IS(VixMntapi_OpenDiskSet(NULL, 1, 0, &set), VIX_E_INVALID_ARG);
    IS(VixMntapi_OpenDiskSet(twice, SIZE_MAX, 0, &set), VIX_E_INVALID_ARG);
    IS(VixMntapi_OpenDiskSet(twice, 1, 1u << 9, &set), VIX_E_INVALID_ARG);
    names[0] = path;
    names[1] = "/nonexistent/disk.vmdk";
    IS(VixMntapi_OpenDisks(connection, names, 2, 0, &set), VIX_E_MNTAPI_DISK_NOT_FOUND);
    names[1] = NULL;
    IS(VixMntapi_OpenDisks(connection, names, 2, 0, &set), VIX_E_INVALID_ARG);
    CHECK(set == NULL);
    IS(VixDiskLib_Create(connection, "x", NULL, NULL, NULL), VIX_E_NOT_SUPPORTED);
    IS(VixDiskLib_Rename(path, "x"), VIX_E_NOT_SUPPORTED);
    IS(VixDiskLib_WriteMetadata(disk, "a", "b"), VIX_E_FILE_READ_ONLY);
    IS(VixDiskLib_ReadAsync(disk, 0, 1, sector, on_read, &disk), VIX_ASYNC);
    OK(VixDiskLib_Wait(disk));
    OK(VixDiskLib_Close(disk));
    IS(VixDiskLib_Close(disk), VIX_E_INVALID_HANDLE);
}

int main(int argc, char **argv)
{
    VixDiskLibConnection connection = NULL;
    VixDiskLibHandle left = NULL;
    VixDiskSetHandle set = NULL;
    VixVolumeHandle *volumes = NULL;
    size_t count = 0;
    const char *path;
    CHECK(argc == 2);
    path = argv[1];
    before_init(path);
    IS(VixDiskLib_Init(99, 0, NULL, NULL, NULL, NULL), VIX_E_NOT_SUPPORTED);
    IS(VixDiskLib_InitEx(7, 0, NULL, on_warn, NULL, NULL, "/nonexistent/vix.cfg"),
       VIX_E_FILE_NOT_FOUND);
    OK(VixDiskLib_InitEx(7, 0, NULL, on_warn, NULL, NULL, NULL));
    OK(VixDiskLib_Init(1, 1, NULL, NULL, NULL, NULL));
    OK(VixMntapi_Init(1, 0, NULL, on_warn, NULL, NULL, NULL));
    OK(VixMntapi_Init(1, 0, NULL, NULL, NULL, NULL, NULL));
    IS(VixDiskLib_Connect(NULL, NULL), VIX_E_INVALID_ARG);
    OK(VixDiskLib_Connect(NULL, &connection));
    wrong_handles();
    wrong_arguments(connection, path);
    /* Out of order: what is left open is closed at the end. */
    OK(VixDiskLib_Open(connection, path, 0, &left));
    OK(VixMntapi_OpenDiskSet(&left, 1, 4, &set));
    OK(VixMntapi_GetVolumeHandles(set, &count, &volumes));
    CHECK(count == 3);
    VixDiskLib_Exit();
    IS(VixDiskLib_Close(left), VIX_E_INVALID_HANDLE);
    IS(VixDiskLib_Disconnect(connection), VIX_E_DISK_INVALID_CONNECTION);
    VixMntapi_Exit();
    IS(VixMntapi_CloseDiskSet(set), VIX_E_INVALID_HANDLE);
    VixMntapi_FreeVolumeHandles(volumes);
    VixMntapi_FreeVolumeHandles(volumes);
    puts("done");
    return 0;
}
