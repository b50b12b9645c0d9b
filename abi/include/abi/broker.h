// SPDX-License-Identifier: Apache-2.0
// What kernel and broker say to each other on port hosted.
//
// Each channel is a SOCK_SEQPACKET socket pair: one request, one answer, in turn; several channels are served at the same
// time. A request is a struct broker_request and a FUSE message (linux/fuse.h: struct fuse_in_header, then the operation's
// arguments); the answer is a FUSE answer (struct fuse_out_header, then the payload). So the broker is a FUSE server for
// the granted trees, with these differences:
//
//   - OPEN and CREATE answer with the host's descriptor in an SCM_RIGHTS message beside FOPEN_PASSTHROUGH in open_flags: data is
//     read, written and mapped through it and READ, WRITE, FLUSH, FSYNC, LSEEK, FALLOCATE, RELEASE are never asked for.
//   - BROKER_LOOKUP_OPEN does a LOOKUP and an OPEN of what was found in one round trip.
//   - FORGET, BATCH_FORGET and INTERRUPT have no answer.
//   - fh of a file means nothing. A file that loses its name by a request with BROKER_REQUEST_HOLD is asked for and changed by its node as
//     before, until it is forgotten; the cell says so of files it has open.
//   - Most nodes are reached by their name: when the host put something else there, -ESTALE. Then the name is to be looked up again.
//   - Unasked messages (struct broker_event) come on a socket of their own.
//
// Both sides treat the other as hostile: lengths are checked, node numbers looked up, messages over BROKER_MESSAGE_MAX_BYTES
// end the conversation.
#pragma once

#include <assert.h>
#include <stdint.h>

#define BROKER_MESSAGE_MAX_BYTES (128u << 10)
#define BROKER_DESCRIPTORS_MAX   32u // with one answer

#define BROKER_FOPEN_PASSTHROUGH (1u << 7) // as FOPEN_PASSTHROUGH of newer fuse.h
#define BROKER_FOPEN_COHERENT    (1u << 15) // OPEN, LOOKUP_OPEN: what a mapping of the file shows is what reading it gives
#define BROKER_FOPEN_EXACT       (1u << 16) // of a directory read
#define BROKER_FOPEN_COMPLETE    (1u << 17) // of a directory read and watched: as struct broker_watch_out

// fuse_read_in.read_flags of BROKER_READ_DIRECTORY.
#define BROKER_READ_WATCH (1u << 16)
#define BROKER_READ_NAMES (1u << 17)
#define BROKER_READ_OPEN  (1u << 18)

#define BROKER_REQUEST_HOLD 1u // UNLINK, RENAME: what loses its name is in use

struct broker_request {
	uint16_t grant;      // number of the granted tree: the N of "fsN" in the boot record
	uint16_t flags;      // BROKER_REQUEST_*
	uint32_t size_bytes; // of the FUSE message that follows
};
static_assert(sizeof(struct broker_request) == 8, "broker request layout");

// Operations beside FUSE's.
enum broker_opcode {
	// struct broker_lookup_open_in, then the NUL-terminated name, nodeid = directory. Answer: struct fuse_entry_out, struct fuse_open_out.
	// When the name is no regular file, or may not be opened so, the open part has fh = UINT64_MAX and the error in `padding`
	// (as a positive errno), and no descriptor comes. What follows is the text of a symbolic link, as with BROKER_WALK.
	BROKER_LOOKUP_OPEN = 0x4001,
	// nodeid = directory, nothing or struct broker_watch_in. From now on the broker tells of changes in it (struct broker_event), and
	// entries and attributes in it are answered with long times to live. Answer: struct broker_watch_out. ENOSPC: no more watches.
	BROKER_WATCH = 0x4002,
	// nodeid = directory. No answer.
	BROKER_UNWATCH = 0x4003,
	// OPENDIR and the first READDIRPLUS in one. nodeid = directory, struct fuse_read_in (its size counts). Answer: struct
	// fuse_open_out, then entries as READDIRPLUS has them. fh = UINT64_MAX: these are all; nothing stays open. open_flags:
	// BROKER_FOPEN_EXACT: names that differ in case are different names. With BROKER_READ_WATCH a BROKER_WATCH without arguments
	// comes first; `padding` is its (positive) errno, and BROKER_FOPEN_COMPLETE its answer. With BROKER_READ_NAMES entries are as
	// READDIR has them: names, of which nothing is looked up.
	// With BROKER_READ_OPEN a struct broker_read_opened stands before the entries: the regular files of a small directory, open for
	// reading; none with BROKER_READ_NAMES.
	BROKER_READ_DIRECTORY = 0x4004,
	// Opens several files for reading. struct broker_open_many_in, then the nodes' numbers, 64 bits each. Answer: for each 0 or a
	// positive errno, 32 bits; with it come the descriptors of those with 0, in this order.
	BROKER_OPEN_MANY = 0x4005,
	// LOOKUPs of several names, each in the directory that the one before it is. nodeid = directory, then names with one '/' between
	// them and a NUL. Answer: struct broker_walk_out, then a struct fuse_entry_out for each of the first names, up to one that is not
	// there (nodeid 0), is no directory, or cannot be looked at, or BROKER_WALK_MAX; then the text of the last if that is a symbolic link.
	// An error: of the first name.
	BROKER_WALK = 0x4006,
};

#define BROKER_WALK_MAX 5u
#define BROKER_LINK_MAX 200u // bytes of a symbolic link's text that comes unasked; longer ones do not

struct broker_walk_out {
	uint32_t count;      // of entries
	uint32_t link_bytes; // of the text; 0: there is none, or it is to be asked for
};
static_assert(sizeof(struct broker_walk_out) == 8, "broker walk layout");

// What a watch tells of unless it is said: everything that makes names or attributes known before wrong.
#define BROKER_WATCH_DEFAULT                                                                                       \
	(0x002u /* IN_MODIFY */ | 0x004u /* IN_ATTRIB */ | 0x040u /* IN_MOVED_FROM */ | 0x080u /* IN_MOVED_TO */ | \
	 0x100u /* IN_CREATE */ | 0x200u /* IN_DELETE */ | 0x400u /* IN_DELETE_SELF */ | 0x800u /* IN_MOVE_SELF */)

struct broker_watch_in {
	uint32_t mask; // IN_* of inotify(7) out of IN_ALL_EVENTS
	uint32_t reserved;
};
static_assert(sizeof(struct broker_watch_in) == 8, "broker watch layout");

struct broker_watch_out {
	uint32_t complete; // 1: the cell is told of all changes of names; 0: of some, on a network's file system
	uint32_t reserved;
};
static_assert(sizeof(struct broker_watch_out) == 8, "broker watch answer layout");

struct broker_lookup_open_in {
	uint32_t flags; // O_* of open(2)
	uint32_t reserved;
};
static_assert(sizeof(struct broker_lookup_open_in) == 8, "broker lookup-open layout");

struct broker_open_many_in {
	uint32_t count; // at most BROKER_DESCRIPTORS_MAX
	uint32_t reserved;
};
static_assert(sizeof(struct broker_open_many_in) == 8, "broker open-many layout");

struct broker_read_opened {
	uint32_t count; // of descriptors that came along: none when there are more files than may
	uint32_t reserved;
	uint64_t nodes[BROKER_DESCRIPTORS_MAX]; // whose they are, in this order
};
static_assert(sizeof(struct broker_read_opened) == 8 + 8 * BROKER_DESCRIPTORS_MAX, "broker read-opened layout");

// Something changed in a watched directory, by whomever. IN_DELETE_SELF may come late, since the broker may have the directory open: the
// one above it, when watched, tells in time (IN_DELETE | IN_ISDIR).
struct broker_event {
	uint32_t grant;
	uint32_t mask;       // IN_* of inotify(7); IN_Q_OVERFLOW: anything may have changed anywhere (nodeid 0);
			     // IN_IGNORED: the directory is gone and no longer watched
	uint64_t nodeid;     // the directory
	uint32_t cookie;     // joins the two halves of a rename
	uint32_t name_bytes; // of the name that follows, without a NUL; 0: the directory itself
};
static_assert(sizeof(struct broker_event) == 24, "broker event layout");
