// SPDX-License-Identifier: Apache-2.0
// Scalars with a unit or a meaning, used all over the kernel.
#pragma once

#include "lib/compiler.h"
#include "port/inline.h"
#include "port/port.h"

typedef int32_t pid_t;
typedef uint32_t uid_t;
typedef uint32_t gid_t;
typedef uint32_t mode_t;
typedef int64_t loff_t;
typedef int64_t ssize_t;
typedef uint64_t dev_t; // Linux's encoding inside the kernel: major << 20 | minor
typedef uint64_t ino_t;

#define DEV_MAKE(major, minor) ((dev_t)(major) << 20 | (minor))
#define DEV_MAJOR(dev)         ((unsigned)((dev) >> 20))
#define DEV_MINOR(dev)         ((unsigned)((dev)&0xfffff))
// The encoding user space sees in st_rdev and friends (new_encode_dev of the Linux ABI).
static inline uint64_t dev_to_user(dev_t d)
{
	uint64_t major = DEV_MAJOR(d), minor = DEV_MINOR(d);
	return (minor & 0xff) | major << 8 | (minor & ~UINT64_C(0xff)) << 12;
}

#define PAGE_SHIFT    12
#define PAGE_SIZE     UINT64_C(4096)
#define PAGE_MASK     (~(PAGE_SIZE - 1))
#define NSEC_PER_SEC  INT64_C(1000000000)
#define NSEC_PER_USEC INT64_C(1000)
#define NSEC_PER_MSEC INT64_C(1000000)

// A pointer of the program's. Only kernel/uaccess.h turns it into data. Passed in one register, so system calls
// take it as an argument directly.
struct uptr {
	uint64_t address;
};
static inline struct uptr uptr_add(struct uptr p, uint64_t bytes) { return (struct uptr){ p.address + bytes }; }
static inline bool uptr_is_null(struct uptr p) { return p.address == 0; }
