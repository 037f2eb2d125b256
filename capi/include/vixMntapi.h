/*
 * The functions of VixMntapi, as volfold has them: docs/C.md says what each does. Volumes are mounted for
 * reading only, by the program volfold.
 *
 * Licensed under Apache-2.0 or MIT, at your choice.
 */
#ifndef VOLFOLD_VIX_MNTAPI_H
#define VOLFOLD_VIX_MNTAPI_H

#include "vixDiskLib.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VIXMNTAPI_MAJOR_VERSION 1
#define VIXMNTAPI_MINOR_VERSION 0

typedef enum {
    VIXMNTAPI_NO_OS = 0,
    VIXMNTAPI_WINDOWS = 1,
    VIXMNTAPI_OTHER = 255
} VixOsFamily;

typedef enum {
    VIXMNTAPI_UNKNOWN_VOLTYPE = 0,
    VIXMNTAPI_BASIC_PARTITION = 1,
    VIXMNTAPI_GPT_PARTITION = 2,
    VIXMNTAPI_DYNAMIC_VOLUME = 3,
    VIXMNTAPI_LVM_VOLUME = 4
} VixVolumeType;

#ifdef _WIN32
#pragma pack(push, 4)
#endif

typedef struct {
    VixOsFamily family;
    uint32 majorVersion;
    uint32 minorVersion;
    Bool osIs64Bit;
    char *vendor;
    char *edition;
    char *osFolder;
} VixOsInfo;

/* symbolicLink is the folder of the volume, which ends in a backslash on Windows; NULL if it is not
   mounted. numGuestMountPoints names follow each other from the first one on. */
typedef struct {
    VixVolumeType type;
    Bool isMounted;
    char *symbolicLink;
    size_t numGuestMountPoints;
    char *inGuestMountPoints[1];
} VixVolumeInfo;

typedef struct {
    uint32 openFlags;
    char *mountPath;
} VixDiskSetInfo;

#ifdef _WIN32
#pragma pack(pop)
#endif

typedef struct VixDiskSetHandleStruct *VixDiskSetHandle;
typedef struct VixVolumeHandleStruct *VixVolumeHandle;

VixError VixMntapi_Init(uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                        VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic,
                        const char *libDir, const char *configFile);
void VixMntapi_Exit(void);

/* On every system, with any number of disks in any order. */
VixError VixMntapi_OpenDiskSet(VixDiskLibHandle diskHandles[], size_t numberOfDisks,
                               uint32 openMode, VixDiskSetHandle *diskSet);
VixError VixMntapi_OpenDisks(VixDiskLibConnection connection, const char *diskNames[],
                             size_t numberOfDisks, uint32 openFlags, VixDiskSetHandle *diskSet);
VixError VixMntapi_GetDiskSetInfo(VixDiskSetHandle diskSet, VixDiskSetInfo **diskSetInfo);
void VixMntapi_FreeDiskSetInfo(VixDiskSetInfo *diskSetInfo);
VixError VixMntapi_CloseDiskSet(VixDiskSetHandle diskSet);

VixError VixMntapi_GetVolumeHandles(VixDiskSetHandle diskSet, size_t *numberOfVolumes,
                                    VixVolumeHandle *volumeHandles[]);
void VixMntapi_FreeVolumeHandles(VixVolumeHandle *volumeHandles);

VixError VixMntapi_GetOsInfo(VixDiskSetHandle diskSet, VixOsInfo **osInfo);
void VixMntapi_FreeOsInfo(VixOsInfo *osInfo);

VixError VixMntapi_MountVolume(VixVolumeHandle volumeHandle, Bool readOnly);
VixError VixMntapi_DismountVolume(VixVolumeHandle volumeHandle, Bool force);
VixError VixMntapi_GetVolumeInfo(VixVolumeHandle volumeHandle, VixVolumeInfo **volumeInfo);
void VixMntapi_FreeVolumeInfo(VixVolumeInfo *volumeInfo);

#ifdef __cplusplus
}
#endif

#endif
