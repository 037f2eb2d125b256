/* Preloaded into the tools that make images, so that two runs give the same bytes.
 *
 * The clock stands still, a file's change and access times are its modification time, and the
 * "random" content id of a VMDK comes from the environment; the machine has one name.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define NOW 1767225600 /* 2026-01-01T00:00:00Z */

time_t time(time_t *out)
{
    if (out)
        *out = NOW;
    return NOW;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    (void)zone;
    out->tv_sec = NOW;
    out->tv_usec = 0;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return (int)syscall(SYS_clock_gettime, clock, out);
    out->tv_sec = NOW;
    out->tv_nsec = 0;
    return 0;
}

#define STAT(name, type, argument)                                      \
    int name(argument, struct type *out)                                \
    {                                                                   \
        int (*real)() = (int (*)())dlsym(RTLD_NEXT, #name);             \
        int result = real(file, out);                                   \
        if (result == 0) {                                              \
            out->st_atim = out->st_mtim;                                \
            out->st_ctim = out->st_mtim;                                \
        }                                                               \
        return result;                                                  \
    }

STAT(stat, stat, const char *file)
STAT(lstat, stat, const char *file)
STAT(fstat, stat, int file)
STAT(stat64, stat64, const char *file)
STAT(lstat64, stat64, const char *file)
STAT(fstat64, stat64, int file)

unsigned int g_random_int(void)
{
    const char *id = getenv("FIXED_CID");
    return id ? (unsigned int)strtoul(id, NULL, 16) : 0x5eed5eed;
}

/* What lvm2 notes of the machine. */
int uname(struct utsname *name)
{
    memset(name, 0, sizeof(*name));
    strcpy(name->sysname, "Linux");
    strcpy(name->nodename, "seed");
    strcpy(name->release, "6.1.0");
    strcpy(name->version, "#1");
    strcpy(name->machine, "x86_64");
    return 0;
}
