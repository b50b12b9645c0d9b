// SPDX-License-Identifier: Apache-2.0
// The boot record: what the launcher hands the kernel.
//
// One contiguous, read-only, little-endian block: a header, then `item_count` items, each an item header
// followed by its payload and padding to 8 bytes. The kernel parses nothing else: no TOML, no command line.
// Unknown item types with BOOT_ITEM_OPTIONAL set are skipped; other unknown types are refused.
// The record is measured: `sha256` covers every byte after the header and stands in the launcher's log.
#pragma once

#include <assert.h>
#include <stdint.h>

#define BOOT_MAGIC            UINT64_C(0x31524f4f42534c43) // "CLSBOOR1"
#define BOOT_VERSION          1u
#define BOOT_RECORD_MAX_BYTES (4u << 20)

struct boot_header {
	uint64_t magic;
	uint32_t version;
	uint32_t size_bytes; // the whole record, this header included
	uint32_t item_count;
	uint32_t reserved;
	uint8_t sha256[32]; // over [sizeof(struct boot_header), size_bytes)
};
static_assert(sizeof(struct boot_header) == 56, "boot header layout");

struct boot_item {
	uint32_t type;       // enum boot_item_type, or'ed with BOOT_ITEM_OPTIONAL
	uint32_t size_bytes; // payload only; the next item starts at the next multiple of 8
};
static_assert(sizeof(struct boot_item) == 8, "boot item layout");

#define BOOT_ITEM_OPTIONAL UINT32_C(0x80000000)

enum boot_item_type {
	BOOT_ITEM_ARGV = 1, // NUL-terminated strings, back to back; argv[0] first
	BOOT_ITEM_ENVP = 2, // NUL-terminated strings, back to back
	BOOT_ITEM_PROGRAM =
		3, // NUL-terminated path of the program (searched in PATH by the launcher or kernel if no '/')
	BOOT_ITEM_WORKDIR = 4,  // NUL-terminated absolute path
	BOOT_ITEM_MOUNT = 5,    // struct boot_mount; one item a mount, in mount order; the first is "/"
	BOOT_ITEM_TIME = 6,     // struct boot_time
	BOOT_ITEM_SEED = 7,     // entropy, 32 bytes or more
	BOOT_ITEM_IDENTITY = 8, // struct boot_identity
	BOOT_ITEM_HOSTNAME = 9, // NUL-terminated
	BOOT_ITEM_OPTIONS = 10, // struct boot_options
	BOOT_ITEM_RLIMIT = 11,  // struct boot_rlimit; one item a limit
	BOOT_ITEM_NET = 12,     // struct outside_rule (abi/outside.h); one item a network grant
};

#define BOOT_MOUNT_READ_ONLY UINT32_C(1)

struct boot_mount {
	uint32_t flags;       // BOOT_MOUNT_*
	uint32_t mode;        // mode of a tmpfs root, 0 = 0755
	uint64_t limit_bytes; // tmpfs size limit, 0 = half the cell's memory
	char type[16];        // "virtiofs", "tmpfs", "proc", "sysfs", "devtmpfs", "devpts", "broker"; NUL-terminated
	char source[40];      // virtio-fs tag or broker grant name; NUL-terminated
	char target[];        // NUL-terminated absolute path; fills the payload
};
static_assert(sizeof(struct boot_mount) == 72, "boot mount layout");

struct boot_time {
	int64_t realtime_ns;  // CLOCK_REALTIME when the record was made
	uint64_t tsc_hz;      // the host's TSC frequency as the launcher measured it, 0 = unknown
	int32_t utc_offset_s; // reserved, 0
	uint32_t reserved;
};
static_assert(sizeof(struct boot_time) == 24, "boot time layout");

struct boot_identity {
	uint32_t uid, gid;    // the program's
	uint32_t group_count; // supplementary groups follow
	uint32_t groups[];
};

#define BOOT_OPTION_TRACE         UINT32_C(1)  // print the program's system calls on the control channel
#define BOOT_OPTION_VERBOSE       UINT32_C(2)  // end-of-run summary on the control channel
#define BOOT_OPTION_TTY           UINT32_C(4)  // standard streams are the console terminal, not three pipes
#define BOOT_OPTION_NO_ASLR       UINT32_C(8)  // for debugging
#define BOOT_OPTION_LEAK_CHECK    UINT32_C(16) // after the last process: drop caches, report what is left
#define BOOT_OPTION_MERGED_STDERR UINT32_C(32) // standard error is standard output's stream (2>&1): one order of writes

#define BOOT_UMASK_SET UINT32_C(01000)

struct boot_options {
	uint32_t flags; // BOOT_OPTION_*
	uint16_t tty_rows, tty_columns;
	uint32_t stdin_closed; // bit n: standard stream n was closed on the host
	uint32_t umask;        // the program's, or'ed with BOOT_UMASK_SET; else the kernel's default
};
static_assert(sizeof(struct boot_options) == 16, "boot options layout");

struct boot_rlimit {
	uint32_t resource; // RLIMIT_*
	uint32_t reserved;
	uint64_t soft, hard;
};
