/*
 * The functions of VixDiskLib, as volfold has them: docs/C.md says what each does. Nothing is written to
 * a disk.
 *
 * Licensed under Apache-2.0 or MIT, at your choice.
 */
#ifndef VOLFOLD_VIX_DISK_LIB_H
#define VOLFOLD_VIX_DISK_LIB_H

#include "vm_basic_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 0 is success; the low 16 bits of all else are one of the codes below. */
typedef uint64 VixError;

enum {
    VIX_OK = 0,
    VIX_E_FAIL = 1,
    VIX_E_OUT_OF_MEMORY = 2,
    VIX_E_INVALID_ARG = 3,
    VIX_E_FILE_NOT_FOUND = 4,
    VIX_E_OBJECT_IS_BUSY = 5,
    VIX_E_NOT_SUPPORTED = 6,
    VIX_E_FILE_ERROR = 7,
    VIX_E_INCORRECT_FILE_TYPE = 9,
    VIX_E_CANCELLED = 10,
    VIX_E_FILE_READ_ONLY = 11,
    VIX_E_FILE_ACCESS_ERROR = 13,
    VIX_E_FILE_ALREADY_LOCKED = 15,
    VIX_E_BUFFER_TOOSMALL = 24,
    VIX_E_NEED_KEY = 30,
    VIX_E_INVALID_HANDLE = 1000,
    VIX_E_DISK_INVAL = 16000,
    VIX_E_DISK_NOINIT = 16001,
    VIX_E_DISK_NOIO = 16002,
    VIX_E_DISK_PARTIALCHAIN = 16003,
    VIX_E_DISK_NEEDSREPAIR = 16006,
    VIX_E_DISK_OUTOFRANGE = 16007,
    VIX_E_DISK_CID_MISMATCH = 16008,
    VIX_E_DISK_PARTMISMATCH = 16010,
    VIX_E_DISK_UNSUPPORTEDDISKVERSION = 16011,
    VIX_E_DISK_OPENPARENT = 16012,
    VIX_E_DISK_NOTSUPPORTED = 16013,
    VIX_E_DISK_NEEDKEY = 16014,
    VIX_E_DISK_INVALIDPARTITIONTABLE = 16018,
    VIX_E_DISK_RAWTOOBIG = 16024,
    VIX_E_DISK_TOOMANYOPENFILES = 16027,
    VIX_E_DISK_TOOMANYREDO = 16028,
    VIX_E_DISK_RAWTOOSMALL = 16029,
    VIX_E_DISK_INVALIDCHAIN = 16030,
    VIX_E_DISK_KEY_NOTFOUND = 16052,
    VIX_E_DISK_SUBSYSTEM_INIT_FAIL = 16053,
    VIX_E_DISK_INVALID_CONNECTION = 16054,
    VIX_E_DISK_ENCODING = 16061,
    VIX_E_DISK_CANTREPAIR = 16062,
    VIX_E_DISK_INVALIDDISK = 16063,
    VIX_E_DISK_NOLICENSE = 16064,
    VIX_E_DISK_CAPACITY_MISMATCH = 16067,
    VIX_E_DISK_PARENT_NOTALLOWED = 16068,
    VIX_E_DISK_ATTACH_ROOTLINK = 16069,
    VIX_E_MNTAPI_MOUNTPT_NOT_FOUND = 24000,
    VIX_E_MNTAPI_MOUNTPT_IN_USE = 24001,
    VIX_E_MNTAPI_DISK_NOT_FOUND = 24002,
    VIX_E_MNTAPI_DISK_NOT_MOUNTED = 24003,
    VIX_E_MNTAPI_DISK_IS_MOUNTED = 24004,
    VIX_E_MNTAPI_DISK_NOT_SAFE = 24005,
    VIX_E_MNTAPI_DISK_CANT_OPEN = 24006,
    VIX_E_MNTAPI_CANT_READ_PARTS = 24007,
    VIX_E_MNTAPI_UMOUNT_APP_NOT_FOUND = 24008,
    VIX_E_MNTAPI_UMOUNT = 24009,
    VIX_E_MNTAPI_NO_MOUNTABLE_PARTITONS = 24010,
    VIX_E_MNTAPI_PARTITION_RANGE = 24011,
    VIX_E_MNTAPI_PERM = 24012,
    VIX_E_MNTAPI_DICT = 24013,
    VIX_E_MNTAPI_DICT_LOCKED = 24014,
    VIX_E_MNTAPI_OPEN_HANDLES = 24015,
    VIX_E_MNTAPI_CANT_MAKE_VAR_DIR = 24016,
    VIX_E_MNTAPI_NO_ROOT = 24017,
    VIX_E_MNTAPI_LOOP_FAILED = 24018,
    VIX_E_MNTAPI_DAEMON = 24019,
    VIX_E_MNTAPI_INTERNAL = 24020,
    VIX_E_MNTAPI_SYSTEM = 24021,
    VIX_E_MNTAPI_NO_CONNECTION_DETAILS = 24022,
    VIX_E_MNTAPI_INCOMPATIBLE_VERSION = 24300,
    VIX_E_MNTAPI_OS_ERROR = 24301,
    VIX_E_MNTAPI_DRIVE_LETTER_IN_USE = 24302,
    VIX_E_MNTAPI_DRIVE_LETTER_ALREADY_ASSIGNED = 24303,
    VIX_E_MNTAPI_VOLUME_NOT_MOUNTED = 24304,
    VIX_E_MNTAPI_VOLUME_ALREADY_MOUNTED = 24305,
    VIX_E_MNTAPI_FORMAT_FAILURE = 24306,
    VIX_E_MNTAPI_NO_DRIVER = 24307,
    VIX_E_MNTAPI_ALREADY_OPENED = 24308,
    VIX_E_MNTAPI_ITEM_NOT_FOUND = 24309,
    VIX_E_MNTAPI_UNSUPPROTED_BOOT_LOADER = 24310,
    VIX_E_MNTAPI_UNSUPPROTED_OS = 24311,
    VIX_E_MNTAPI_CODECONVERSION = 24312,
    VIX_E_MNTAPI_REGWRITE_ERROR = 24313,
    VIX_E_MNTAPI_UNSUPPORTED_FT_VOLUME = 24314,
    VIX_E_MNTAPI_PARTITION_NOT_FOUND = 24315,
    VIX_E_MNTAPI_PUTFILE_ERROR = 24316,
    VIX_E_MNTAPI_GETFILE_ERROR = 24317,
    VIX_E_MNTAPI_REG_NOT_OPENED = 24318,
    VIX_E_MNTAPI_REGDELKEY_ERROR = 24319,
    VIX_E_MNTAPI_CREATE_PARTITIONTABLE_ERROR = 24320,
    VIX_E_MNTAPI_OPEN_FAILURE = 24321,
    VIX_E_MNTAPI_VOLUME_NOT_WRITABLE = 24322,
    VIX_ASYNC = 25000,
    VIX_E_ASYNC_MIXEDMODE_UNSUPPORTED = 26000
};

#define VIX_ERROR_CODE(error) ((error) & 0xFFFF)
#define VIX_SUCCEEDED(error) (VIX_OK == (error))
#define VIX_FAILED(error) (VIX_OK != (error))

#define VIXDISKLIB_SECTOR_SIZE 512
typedef uint64 VixDiskLibSectorType;

/* Flags of VixDiskLib_Open. All disks are open for reading only, with whatever flags. */
#define VIXDISKLIB_FLAG_OPEN_UNBUFFERED (1 << 0)
#define VIXDISKLIB_FLAG_OPEN_SINGLE_LINK (1 << 1)
#define VIXDISKLIB_FLAG_OPEN_READ_ONLY (1 << 2)
#define VIXDISKLIB_FLAG_OPEN_COMPRESSION_ZLIB (1 << 4)
#define VIXDISKLIB_FLAG_OPEN_COMPRESSION_FASTLZ (1 << 5)
#define VIXDISKLIB_FLAG_OPEN_COMPRESSION_SKIPZ (1 << 6)

#define VIXDISKLIB_MIN_CHUNK_SIZE 128
#define VIXDISKLIB_MAX_CHUNK_NUMBER (512 * 1024)

typedef enum {
    VIXDISKLIB_DISK_MONOLITHIC_SPARSE = 1,
    VIXDISKLIB_DISK_MONOLITHIC_FLAT = 2,
    VIXDISKLIB_DISK_SPLIT_SPARSE = 3,
    VIXDISKLIB_DISK_SPLIT_FLAT = 4,
    VIXDISKLIB_DISK_VMFS_FLAT = 5,
    VIXDISKLIB_DISK_STREAM_OPTIMIZED = 6,
    VIXDISKLIB_DISK_VMFS_THIN = 7,
    VIXDISKLIB_DISK_VMFS_SPARSE = 8,
    VIXDISKLIB_DISK_UNKNOWN = 256
} VixDiskLibDiskType;

typedef enum {
    VIXDISKLIB_ADAPTER_IDE = 1,
    VIXDISKLIB_ADAPTER_SCSI_BUSLOGIC = 2,
    VIXDISKLIB_ADAPTER_SCSI_LSILOGIC = 3,
    VIXDISKLIB_ADAPTER_UNKNOWN = 256
} VixDiskLibAdapterType;

enum {
    VIXDISKLIB_HWVERSION_WORKSTATION_4 = 3,
    VIXDISKLIB_HWVERSION_WORKSTATION_5 = 4,
    VIXDISKLIB_HWVERSION_ESX30 = 4,
    VIXDISKLIB_HWVERSION_WORKSTATION_6 = 6,
    VIXDISKLIB_HWVERSION_ESX4X = 7,
    VIXDISKLIB_HWVERSION_ESX50 = 8,
    VIXDISKLIB_HWVERSION_ESX51 = 9,
    VIXDISKLIB_HWVERSION_ESX55 = 10,
    VIXDISKLIB_HWVERSION_ESX60 = 11,
    VIXDISKLIB_HWVERSION_ESX65 = 13
};

typedef enum {
    VIXDISKLIB_CRED_UID = 1,
    VIXDISKLIB_CRED_SESSIONID = 2,
    VIXDISKLIB_CRED_TICKETID = 3,
    VIXDISKLIB_CRED_SSPI = 4,
    VIXDISKLIB_CRED_UNKNOWN = 256
} VixDiskLibCredType;

typedef enum {
    VIXDISKLIB_SPEC_VMX = 0,
    VIXDISKLIB_SPEC_VSTORAGE_OBJECT = 1,
    VIXDISKLIB_SPEC_DATASTORE = 2
} VixDiskLibSpecType;

#ifdef _WIN32
#pragma pack(push, 4)
#endif

typedef struct {
    uint32 cylinders;
    uint32 heads;
    uint32 sectors;
} VixDiskLibGeometry;

typedef struct {
    VixDiskLibGeometry biosGeo;
    VixDiskLibGeometry physGeo;
    VixDiskLibSectorType capacity;
    VixDiskLibAdapterType adapterType;
    int numLinks;
    char *parentFileNameHint;
    char *uuid;
    uint32 logicalSectorSize;
    uint32 physicalSectorSize;
} VixDiskLibInfo;

typedef struct {
    VixDiskLibDiskType diskType;
    VixDiskLibAdapterType adapterType;
    uint16 hwVersion;
    VixDiskLibSectorType capacity;
    uint32 logicalSectorSize;
    uint32 physicalSectorSize;
} VixDiskLibCreateParams;

typedef struct {
    VixDiskLibSectorType offset;
    VixDiskLibSectorType length;
} VixDiskLibBlock;

/* numBlocks blocks follow each other from the first one on. */
typedef struct {
    uint32 numBlocks;
    VixDiskLibBlock blocks[1];
} VixDiskLibBlockList;

/* Only vmxSpec and serverName are read: both are NULL or empty, or the connection is refused. */
typedef struct {
    char *vmxSpec;
    char *serverName;
    char *thumbPrint;
    long privateUse;
    VixDiskLibCredType credType;
    union {
        struct {
            char *userName;
            char *password;
        } uid;
        struct {
            char *cookie;
            char *userName;
            char *key;
        } sessionId;
        void *ticketId;
    } creds;
    uint32 port;
    uint32 nfcHostPort;
    char *reserved3;
    char reserved4[8];
    void *reserved5;
    union {
        struct {
            char *id;
            char *datastoreMoRef;
            char *ssId;
        } vStorageObjSpec;
    } spec;
    VixDiskLibSpecType specType;
} VixDiskLibConnectParams;

#ifdef _WIN32
#pragma pack(pop)
#endif

typedef struct VixDiskLibConnectionStruct *VixDiskLibConnection;
typedef struct VixDiskLibHandleStruct *VixDiskLibHandle;

typedef void(VixDiskLibGenericLogFunc)(const char *fmt, va_list args);
typedef Bool (*VixDiskLibProgressFunc)(void *progressData, int percentCompleted);
typedef void (*VixDiskLibCompletionCB)(void *cbData, VixError result);

VixError VixDiskLib_Init(uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                         VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic,
                         const char *libDir);
VixError VixDiskLib_InitEx(uint32 majorVersion, uint32 minorVersion, VixDiskLibGenericLogFunc *log,
                           VixDiskLibGenericLogFunc *warn, VixDiskLibGenericLogFunc *panic,
                           const char *libDir, const char *configFile);
void VixDiskLib_Exit(void);

const char *VixDiskLib_ListTransportModes(void);
VixDiskLibConnectParams *VixDiskLib_AllocateConnectParams(void);
VixError VixDiskLib_GetConnectParams(const VixDiskLibConnection connection,
                                     VixDiskLibConnectParams **connectParams);
void VixDiskLib_FreeConnectParams(VixDiskLibConnectParams *connectParams);
VixError VixDiskLib_Connect(const VixDiskLibConnectParams *connectParams,
                            VixDiskLibConnection *connection);
VixError VixDiskLib_ConnectEx(const VixDiskLibConnectParams *connectParams, Bool readOnly,
                              const char *snapshotRef, const char *transportModes,
                              VixDiskLibConnection *connection);
VixError VixDiskLib_Disconnect(VixDiskLibConnection connection);
VixError VixDiskLib_Cleanup(const VixDiskLibConnectParams *connectParams, uint32 *numCleanedUp,
                            uint32 *numRemaining);
VixError VixDiskLib_PrepareForAccess(const VixDiskLibConnectParams *connectParams,
                                     const char *identity);
VixError VixDiskLib_EndAccess(const VixDiskLibConnectParams *connectParams, const char *identity);

VixError VixDiskLib_Open(const VixDiskLibConnection connection, const char *path, uint32 flags,
                         VixDiskLibHandle *diskHandle);
VixError VixDiskLib_Close(VixDiskLibHandle diskHandle);
VixError VixDiskLib_GetInfo(VixDiskLibHandle diskHandle, VixDiskLibInfo **info);
void VixDiskLib_FreeInfo(VixDiskLibInfo *info);
const char *VixDiskLib_GetTransportMode(VixDiskLibHandle diskHandle);

VixError VixDiskLib_Read(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                         VixDiskLibSectorType numSectors, uint8 *readBuffer);
VixError VixDiskLib_ReadAsync(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                              VixDiskLibSectorType numSectors, uint8 *readBuffer,
                              VixDiskLibCompletionCB callback, void *cbData);
VixError VixDiskLib_Wait(VixDiskLibHandle diskHandle);
VixError VixDiskLib_Flush(VixDiskLibHandle diskHandle);
VixError VixDiskLib_QueryAllocatedBlocks(VixDiskLibHandle diskHandle,
                                         VixDiskLibSectorType startSector,
                                         VixDiskLibSectorType numSectors,
                                         VixDiskLibSectorType chunkSize,
                                         VixDiskLibBlockList **blockList);
VixError VixDiskLib_FreeBlockList(VixDiskLibBlockList *blockList);

VixError VixDiskLib_GetMetadataKeys(VixDiskLibHandle diskHandle, char *keys, size_t maxLen,
                                    size_t *requiredLen);
VixError VixDiskLib_ReadMetadata(VixDiskLibHandle diskHandle, const char *key, char *buf,
                                 size_t bufLen, size_t *requiredLen);

VixError VixDiskLib_SpaceNeededForClone(VixDiskLibHandle diskHandle,
                                        VixDiskLibDiskType cloneDiskType, uint64 *spaceNeeded);
VixError VixDiskLib_CheckRepair(const VixDiskLibConnection connection, const char *filename,
                                Bool repair);
VixError VixDiskLib_CreateChild(VixDiskLibHandle diskHandle, const char *pathName,
                                VixDiskLibDiskType diskType, VixDiskLibProgressFunc progressFunc,
                                void *progressCallbackData);
VixError VixDiskLib_IsAttachPossible(VixDiskLibHandle parent, VixDiskLibHandle child);
VixError VixDiskLib_Attach(VixDiskLibHandle parent, VixDiskLibHandle child);
VixError VixDiskLib_Unlink(VixDiskLibConnection connection, const char *path);

char *VixDiskLib_GetErrorText(VixError error, const char *locale);
void VixDiskLib_FreeErrorText(char *text);

/* Refused: nothing is written. */
VixError VixDiskLib_Write(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                          VixDiskLibSectorType numSectors, const uint8 *writeBuffer);
VixError VixDiskLib_WriteAsync(VixDiskLibHandle diskHandle, VixDiskLibSectorType startSector,
                               VixDiskLibSectorType numSectors, const uint8 *writeBuffer,
                               VixDiskLibCompletionCB callback, void *cbData);
VixError VixDiskLib_WriteMetadata(VixDiskLibHandle diskHandle, const char *key, const char *val);
VixError VixDiskLib_Create(const VixDiskLibConnection connection, const char *path,
                           const VixDiskLibCreateParams *createParams,
                           VixDiskLibProgressFunc progressFunc, void *progressCallbackData);
VixError VixDiskLib_Clone(const VixDiskLibConnection dstConnection, const char *dstPath,
                          const VixDiskLibConnection srcConnection, const char *srcPath,
                          const VixDiskLibCreateParams *createParams,
                          VixDiskLibProgressFunc progressFunc, void *progressCallbackData,
                          Bool overWrite);
VixError VixDiskLib_Grow(VixDiskLibConnection connection, const char *path,
                         VixDiskLibSectorType capacity, Bool updateGeometry,
                         VixDiskLibProgressFunc progressFunc, void *progressCallbackData);
VixError VixDiskLib_Shrink(VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc,
                           void *progressCallbackData);
VixError VixDiskLib_Defragment(VixDiskLibHandle diskHandle, VixDiskLibProgressFunc progressFunc,
                               void *progressCallbackData);
VixError VixDiskLib_Rename(const char *srcFileName, const char *dstFileName);

#ifdef __cplusplus
}
#endif

#endif
