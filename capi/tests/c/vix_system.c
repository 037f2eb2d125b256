/* Prints the system of the set of the images that are given. */
#include "check.h"
#include "vixMntapi.h"

#define OK(call) CHECK((call) == VIX_OK)

int main(int argc, char **argv)
{
    VixDiskLibConnection connection = NULL;
    VixDiskSetHandle set = NULL;
    VixOsInfo *system = NULL;
    CHECK(argc > 1);
    OK(VixDiskLib_Init(1, 0, NULL, NULL, NULL, NULL));
    OK(VixMntapi_Init(1, 0, NULL, NULL, NULL, NULL, NULL));
    OK(VixDiskLib_Connect(NULL, &connection));
    OK(VixMntapi_OpenDisks(connection, (const char **)(argv + 1), (size_t)argc - 1, 0, &set));
    OK(VixMntapi_GetOsInfo(set, &system));
    printf("%d %u.%u %d %s|%s|%s\n", (int)system->family, system->majorVersion,
           system->minorVersion, system->osIs64Bit, system->vendor, system->edition,
           system->osFolder);
    VixMntapi_FreeOsInfo(system);
    VixMntapi_FreeOsInfo(system);
    OK(VixMntapi_CloseDiskSet(set));
    OK(VixDiskLib_Disconnect(connection));
    VixMntapi_Exit();
    VixDiskLib_Exit();
    return 0;
}
