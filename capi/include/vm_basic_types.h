/*
 * The basic types of vixDiskLib.h and vixMntapi.h, as volfold has them.
 *
 * Licensed under Apache-2.0 or MIT, at your choice.
 */
#ifndef VOLFOLD_VM_BASIC_TYPES_H
#define VOLFOLD_VM_BASIC_TYPES_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef char Bool;

#ifndef TRUE
#define TRUE 1
#endif
#ifndef FALSE
#define FALSE 0
#endif

typedef uint8_t uint8;
typedef uint16_t uint16;
typedef uint32_t uint32;
typedef uint64_t uint64;

#endif
