/* The layouts of VixMntapi and VixDiskLib, on the system that this is compiled for. */
#include "vixDiskLib.h"
#include "vixMntapi.h"
#include "volfold.h"

#ifdef _WIN32
#define IS(found, windows, others) _Static_assert((found) == (windows), #found)
#else
#define IS(found, windows, others) _Static_assert((found) == (others), #found)
#endif

IS(sizeof(Bool), 1, 1);
IS(sizeof(VixError), 8, 8);
IS(sizeof(VixVolumeType), 4, 4);
IS(sizeof(VixOsFamily), 4, 4);
IS(sizeof(VixOsInfo), 40, 40);
IS(offsetof(VixOsInfo, majorVersion), 4, 4);
IS(offsetof(VixOsInfo, minorVersion), 8, 8);
IS(offsetof(VixOsInfo, osIs64Bit), 12, 12);
IS(offsetof(VixOsInfo, vendor), 16, 16);
IS(offsetof(VixOsInfo, edition), 24, 24);
IS(offsetof(VixOsInfo, osFolder), 32, 32);
IS(sizeof(VixVolumeInfo), 32, 32);
IS(offsetof(VixVolumeInfo, isMounted), 4, 4);
IS(offsetof(VixVolumeInfo, symbolicLink), 8, 8);
IS(offsetof(VixVolumeInfo, numGuestMountPoints), 16, 16);
IS(offsetof(VixVolumeInfo, inGuestMountPoints), 24, 24);
IS(sizeof(VixDiskSetInfo), 12, 16);
IS(offsetof(VixDiskSetInfo, mountPath), 4, 8);
IS(sizeof(VixDiskLibGeometry), 12, 12);
IS(sizeof(VixDiskLibInfo), 64, 64);
IS(offsetof(VixDiskLibInfo, physGeo), 12, 12);
IS(offsetof(VixDiskLibInfo, capacity), 24, 24);
IS(offsetof(VixDiskLibInfo, adapterType), 32, 32);
IS(offsetof(VixDiskLibInfo, numLinks), 36, 36);
IS(offsetof(VixDiskLibInfo, parentFileNameHint), 40, 40);
IS(offsetof(VixDiskLibInfo, uuid), 48, 48);
IS(offsetof(VixDiskLibInfo, logicalSectorSize), 56, 56);
IS(offsetof(VixDiskLibInfo, physicalSectorSize), 60, 60);
IS(sizeof(VixDiskLibCreateParams), 28, 32);
IS(offsetof(VixDiskLibCreateParams, capacity), 12, 16);
IS(sizeof(VixDiskLibBlock), 16, 16);
IS(sizeof(VixDiskLibBlockList), 20, 24);
IS(offsetof(VixDiskLibBlockList, blocks), 4, 8);
IS(sizeof(VixDiskLibConnectParams), 116, 128);
IS(offsetof(VixDiskLibConnectParams, credType), 28, 32);
IS(offsetof(VixDiskLibConnectParams, creds), 32, 40);
IS(offsetof(VixDiskLibConnectParams, port), 56, 64);
IS(offsetof(VixDiskLibConnectParams, nfcHostPort), 60, 68);
IS(offsetof(VixDiskLibConnectParams, spec), 88, 96);
IS(offsetof(VixDiskLibConnectParams, specType), 112, 120);
IS(VIX_E_MNTAPI_NO_MOUNTABLE_PARTITONS, 24010, 24010);
IS(VIX_E_MNTAPI_UNSUPPROTED_OS, 24311, 24311);
IS(VIX_E_MNTAPI_VOLUME_NOT_WRITABLE, 24322, 24322);
IS(VIX_E_INVALID_HANDLE, 1000, 1000);
IS(VIX_ASYNC, 25000, 25000);
/* Those of volfold.h are natural on every system. */
IS(sizeof(VolfoldText), 16, 16);
IS(sizeof(VolfoldExtent), 16, 16);
IS(sizeof(VolfoldStat), 144, 144);

int main(void)
{
    return 0;
}
