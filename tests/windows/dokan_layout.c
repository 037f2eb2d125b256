/* What the test `dokan_layout` says of Dokan's structures, held against Dokan's own headers. */
#include <windows.h>
#include <stddef.h>
#include "dokan.h"

#define AT(type, field, offset) _Static_assert(offsetof(type, field) == offset, #type "." #field)
#define SIZE(type, size) _Static_assert(sizeof(type) == size, #type)

SIZE(DOKAN_OPTIONS, 16432);
AT(DOKAN_OPTIONS, SingleThread, 2);
AT(DOKAN_OPTIONS, Options, 4);
AT(DOKAN_OPTIONS, GlobalContext, 8);
AT(DOKAN_OPTIONS, MountPoint, 16);
AT(DOKAN_OPTIONS, UNCName, 24);
AT(DOKAN_OPTIONS, Timeout, 32);
AT(DOKAN_OPTIONS, AllocationUnitSize, 36);
AT(DOKAN_OPTIONS, SectorSize, 40);
AT(DOKAN_OPTIONS, VolumeSecurityDescriptorLength, 44);
AT(DOKAN_OPTIONS, VolumeSecurityDescriptor, 48);

SIZE(DOKAN_FILE_INFO, 48);
AT(DOKAN_FILE_INFO, Context, 0);
AT(DOKAN_FILE_INFO, DokanOptions, 16);
AT(DOKAN_FILE_INFO, ProcessingContext, 24);
AT(DOKAN_FILE_INFO, ProcessId, 32);
AT(DOKAN_FILE_INFO, IsDirectory, 36);
AT(DOKAN_FILE_INFO, WriteToEndOfFile, 41);

SIZE(DOKAN_MOUNT_POINT_INFO, 788);
AT(DOKAN_MOUNT_POINT_INFO, MountPoint, 4);
AT(DOKAN_MOUNT_POINT_INFO, DeviceName, 652);
AT(DOKAN_MOUNT_POINT_INFO, SessionId, 780);

SIZE(WIN32_FIND_STREAM_DATA, 600);
AT(WIN32_FIND_STREAM_DATA, cStreamName, 8);

SIZE(DOKAN_OPERATIONS, 200);
AT(DOKAN_OPERATIONS, ZwCreateFile, 0);
AT(DOKAN_OPERATIONS, Cleanup, 8);
AT(DOKAN_OPERATIONS, CloseFile, 16);
AT(DOKAN_OPERATIONS, ReadFile, 24);
AT(DOKAN_OPERATIONS, FlushFileBuffers, 40);
AT(DOKAN_OPERATIONS, GetFileInformation, 48);
AT(DOKAN_OPERATIONS, FindFiles, 56);
AT(DOKAN_OPERATIONS, FindFilesWithPattern, 64);
AT(DOKAN_OPERATIONS, MoveFile, 104);
AT(DOKAN_OPERATIONS, LockFile, 128);
AT(DOKAN_OPERATIONS, GetDiskFreeSpace, 144);
AT(DOKAN_OPERATIONS, GetVolumeInformation, 152);
AT(DOKAN_OPERATIONS, Unmounted, 168);
AT(DOKAN_OPERATIONS, GetFileSecurity, 176);
AT(DOKAN_OPERATIONS, FindStreams, 192);

_Static_assert(DOKAN_OPTION_ALT_STREAM == 4 && DOKAN_OPTION_WRITE_PROTECT == 8, "options");
_Static_assert(DOKAN_OPTION_MOUNT_MANAGER == 64 && DOKAN_VERSION == 206, "options");
_Static_assert(DOKAN_SUCCESS == 0 && DOKAN_DRIVE_LETTER_ERROR == -2, "results");
_Static_assert(DOKAN_MOUNT_POINT_ERROR == -6 && DOKAN_VERSION_ERROR == -7, "results");

/* The functions that are called, as they are declared. */
void functions(void)
{
    ULONG (*version)(void) = DokanVersion;
    int (*create)(PDOKAN_OPTIONS, PDOKAN_OPERATIONS, DOKAN_HANDLE *) = DokanCreateFileSystem;
    void (*close_handle)(DOKAN_HANDLE) = DokanCloseHandle;
    HANDLE (*token)(PDOKAN_FILE_INFO) = DokanOpenRequestorToken;
    PDOKAN_MOUNT_POINT_INFO (*list)(BOOL, PULONG) = DokanGetMountPointList;
    void (*release)(PDOKAN_MOUNT_POINT_INFO) = DokanReleaseMountPointList;
    (void)version, (void)create, (void)close_handle, (void)token, (void)list, (void)release;
}
