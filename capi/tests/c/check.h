/* What the test programs share. */
#ifndef CHECK_H
#define CHECK_H

/* Sizes are printed as C99 has them on Windows, too. */
#define __USE_MINGW_ANSI_STDIO 1

#include <stdio.h>
#include <stdlib.h>

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
/* Bytes go to stdout as they are. */
#define BINARY_OUTPUT() _setmode(_fileno(stdout), _O_BINARY)
#else
#define BINARY_OUTPUT() ((void)0)
#endif

/* Ends the program unless `condition` holds. */
#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

#endif
