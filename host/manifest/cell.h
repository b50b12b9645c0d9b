// SPDX-License-Identifier: Apache-2.0
// A cell's configuration: what it runs and what it is granted, whatever said so (defaults, manifest, options).
#pragma once

#include "base/buffer.h"
#include "base/err.h"
#include "net/rules.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CELL_MEMORY_MIN_BYTES     (128ull << 20)
#define CELL_MEMORY_MAX_BYTES     (512ull << 30)
#define CELL_MEMORY_DEFAULT_BYTES (2048ull << 20)
#define CELL_CPUS_MAX             64u
#define CELL_MOUNTS_MAX           16u
#define CELL_HOST_TREE            "host"

struct cell_mount {
	char type
		[16]; // as in struct boot_mount; CELL_HOST_TREE: a directory of the host, however the port brings it in
	char *source; // host path; NULL for what the kernel makes itself
	char *target; // absolute path in the cell
	bool read_only;
	bool mask_system; // a grant of the host's root: its proc, sys, dev, run and tmp are not part of it
	unsigned mode;    // tmpfs
	uint64_t limit_bytes;
};

struct cell_rlimit {
	int resource;
	uint64_t soft, hard;
};

enum cell_port { CELL_PORT_AUTO, CELL_PORT_QEMU, CELL_PORT_HOSTED };
enum cell_tty { CELL_TTY_AUTO, CELL_TTY_YES, CELL_TTY_NO };

struct cell {
	char *program; // path or a name to look up in PATH
	struct strings argv, envp;
	struct cell_mount *mounts;
	size_t mount_count;
	struct cell_rlimit *rlimits;
	size_t rlimit_count;
	struct net_rules net; // none: the cell has its private loopback only
	char *workdir;
	char *hostname;
	unsigned cpus; // 0: the port's default
	uint64_t memory_bytes;
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t group_count;
	enum cell_port port;
	enum cell_tty tty_mode;
	bool tty; // decided
	bool trace, verbose, leak_check, no_aslr;
	bool no_pkeys;         // port hosted: leave the kernel's memory open while programs run
	bool host_environment; // pass all of the launcher's environment
};

void cell_init(struct cell *c); // identity of the caller, machine defaults; no program, no mounts, no environment
void cell_fini(struct cell *c);

// Adds a mount; one of the same target is replaced. Valid until the next one is added. Targets must be absolute: NULL
// and EXIT_USAGE.
struct cell_mount *cell_mount_add(struct cell *c, const char *type, const char *source, const char *target,
				  bool read_only, struct err *e);
// "SRC:DST[:ro|rw]", SRC relative to the current directory; a grant of a directory, or of one file.
bool cell_mount_parse(struct cell *c, const char *text, struct err *e);
// Host root read-only, private /tmp, /run and /run/lock (not with a writable root of its own), /proc, /sys, /dev, /dev/pts, /dev/shm; environment of a login.
bool cell_grant_defaults(struct cell *c, struct err *e);
// What every cell has, whatever is granted: /proc, /sys, /dev, /dev/pts, /dev/shm, unless mounted already.
bool cell_grant_kernel_trees(struct cell *c, struct err *e);
// The variables of the launcher's environment that a cell without a manifest gets.
void cell_environment_defaults(struct cell *c);
void cell_add_rlimit(struct cell *c, int resource, uint64_t soft, uint64_t hard);

// "UID[:GID]" (numbers or names of the host).
bool cell_user_parse(struct cell *c, const char *text, struct err *e);
// "512M", "2G", "1024" (MiB when it bears no unit, as QEMU has it).
bool size_parse(const char *text, uint64_t *out);
// Checks ranges and sorts mounts parents first; makes "/" an empty tmpfs when nothing was granted there.
bool cell_validate(struct cell *c, struct err *e);
