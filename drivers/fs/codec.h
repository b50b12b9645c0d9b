// SPDX-License-Identifier: Apache-2.0
// FUSE messages, encoded and decoded. Source: <linux/fuse.h>, protocol 7.31 to 7.38.
//
// Answers are hostile: each decoder copies a message out of memory the server may still be writing to (once), checks every
// length, name, mode and number in its copy, and hands out a structure in the kernel's terms. -EIO: the answer makes no sense.
// No kernel services are used here, so unit tests and fuzzers link this file alone.
#pragma once

#include <linux/fuse.h>

#include "abi/broker.h"
#include "kernel/errno.h"
#include "kernel/types.h"
#include "lib/compiler.h"

#define FUSE_NAME_BYTES_MAX 255u
#define FUSE_MINOR_OLDEST   31u // virtio-fs begins here
#define FUSE_FOREVER        UINT64_MAX

struct fuse_time {
	int64_t seconds;
	uint32_t nanoseconds;
};

struct fuse_attributes {
	uint64_t ino, size, blocks;
	struct fuse_time atime, mtime, ctime;
	mode_t mode;
	uint32_t nlink, block_size;
	uid_t uid;
	gid_t gid;
	dev_t rdev;
	bool submount; // another file system of the server's begins here
};

struct fuse_entry {
	uint64_t nodeid;                        // 0: the name is known not to exist
	uint64_t entry_valid_ns, attr_valid_ns; // how long from now; FUSE_FOREVER
	struct fuse_attributes attr;
};

struct fuse_opened {
	uint64_t fh;
	uint32_t flags; // FOPEN_*
};

struct fuse_walk { // BROKER_WALK
	unsigned count;
	struct fuse_entry steps[BROKER_WALK_MAX]; // all but the last are directories
	char link[BROKER_LINK_MAX + 1];           // the last one's text; "": to be asked for, if it is a symbolic link
};

struct fuse_parameters { // what INIT settled
	uint32_t minor, max_write, max_readahead, time_granularity;
	uint64_t flags;
	unsigned max_pages;
};

struct fuse_statistics {
	uint64_t blocks, blocks_free, blocks_available, files, files_free;
	uint32_t block_size, fragment_size, name_max;
};

struct fuse_directory_entry {
	uint64_t ino;
	int64_t next_offset;
	unsigned type;  // DT_*
	bool has_entry; // READDIRPLUS looked it up: a lookup is owed to FORGET
	struct fuse_entry entry;
	uint32_t name_length;
	char name[FUSE_NAME_BYTES_MAX + 1];
};

// ---- answers ----

// `message`: an answer of `written` bytes to request `unique`. 0 and the payload's size, or the server's error (-1..-511), or -EIO.
int fuse_decode_header(const void *message, size_t written, uint64_t unique, size_t *payload_bytes);
int fuse_decode_init(const void *payload, size_t size, struct fuse_parameters *out);
int fuse_decode_entry(const void *payload, size_t size, struct fuse_entry *out);
int fuse_decode_create(const void *payload, size_t size, struct fuse_entry *entry, struct fuse_opened *opened);
// BROKER_LOOKUP_OPEN (abi/broker.h): *open_error 0 when it was opened too; -ENOENT with nodeid 0.
int fuse_decode_lookup_open(const void *payload, size_t size, struct fuse_entry *entry, struct fuse_opened *opened,
			    int *open_error);
// The text of a symbolic link that came with it, else "".
int fuse_decode_lookup_open_link(const void *payload, size_t size, const struct fuse_entry *entry,
				 char out[BROKER_LINK_MAX + 1]);
// Of so many names that were asked for.
int fuse_decode_walk(const void *payload, size_t size, unsigned asked, struct fuse_walk *out);
int fuse_decode_attributes(const void *payload, size_t size, struct fuse_attributes *out, uint64_t *valid_ns);
int fuse_decode_opened(const void *payload, size_t size, struct fuse_opened *out);
int fuse_decode_written(const void *payload, size_t size, uint32_t asked, uint32_t *written); // WRITE, COPY_FILE_RANGE
int fuse_decode_statistics(const void *payload, size_t size, struct fuse_statistics *out);
int fuse_decode_seek(const void *payload, size_t size, int64_t *offset);
int fuse_decode_xattr_size(const void *payload, size_t size, uint32_t *value_bytes);
// A symlink's target into `out`, NUL-terminated: its length, or -EIO (empty, with a NUL, too long for `capacity`).
long fuse_decode_link(const void *payload, size_t size, char *out, size_t capacity);
// The entry at *at of a READDIR or READDIRPLUS answer; *at moves behind it. 1, 0 at the end, -EIO.
int fuse_decode_dirent(const void *payload, size_t size, size_t *at, bool plus, struct fuse_directory_entry *out);

// ---- requests ----

// Builds a request in `memory`: header first, then what fuse_put() adds. Does not overflow: fuse_finish() tells.
struct fuse_builder {
	char *memory;
	size_t capacity, size;
	bool overflow;
};
void fuse_begin(struct fuse_builder *b, void *memory, size_t capacity);
void fuse_put(struct fuse_builder *b, const void *data, size_t size);
void fuse_put_name(struct fuse_builder *b, const char *name, size_t length); // with its NUL
// Writes the header. extra_bytes: payload that travels behind the memory. -ENAMETOOLONG when it did not fit.
int fuse_finish(struct fuse_builder *b, const struct fuse_in_header *header, size_t extra_bytes);
uint32_t fuse_encode_rdev(dev_t d);
