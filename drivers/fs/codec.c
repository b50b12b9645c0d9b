// SPDX-License-Identifier: Apache-2.0
#include "codec.h"

#include "lib/string.h"

#define NSEC       UINT64_C(1000000000)
#define PATH_LIMIT 4096u

// A structure out of the answer, exactly once. False: too short.
#define take(to, payload, size) ((size) >= sizeof(*(to)) && (memcpy((to), (payload), sizeof(*(to))), true))

int fuse_decode_header(const void *message, size_t written, uint64_t unique, size_t *payload_bytes)
{
	struct fuse_out_header h;
	if (!take(&h, message, written) || h.len < sizeof(h) || h.len > written || h.unique != unique)
		return -EIO;
	if (h.error > 0 || h.error <= -512) // no error number a program may see
		return -EIO;
	*payload_bytes = h.error ? 0 : h.len - sizeof(h);
	return h.error == -ENOMEM ? -EIO
				  : h.error; // it is not here that memory is short: nobody is to be killed for it
}

int fuse_decode_init(const void *payload, size_t size, struct fuse_parameters *out)
{
	struct fuse_init_out o = { 0 };
	memcpy(&o, payload, min(size, sizeof(o))); // older servers send less
	if (size < FUSE_COMPAT_22_INIT_OUT_SIZE || o.major != FUSE_KERNEL_VERSION || o.minor < FUSE_MINOR_OLDEST)
		return -EPROTO;
	*out = (struct fuse_parameters){
		.minor = o.minor,
		.flags = o.flags | (o.flags & FUSE_INIT_EXT ? (uint64_t)o.flags2 << 32 : 0),
		.max_readahead = o.max_readahead,
		.time_granularity = o.time_gran,
		.max_write = max(o.max_write, 4096u),
		.max_pages = o.flags & FUSE_MAX_PAGES && o.max_pages ? o.max_pages : 32,
	};
	return 0;
}

static uint64_t valid_ns(uint64_t seconds, uint32_t nanoseconds)
{
	uint64_t ns;
	if (nanoseconds >= NSEC || __builtin_mul_overflow(seconds, NSEC, &ns) ||
	    __builtin_add_overflow(ns, nanoseconds, &ns))
		return FUSE_FOREVER;
	return ns;
}

static bool time_decode(uint64_t seconds, uint32_t nanoseconds, struct fuse_time *out)
{
	*out = (struct fuse_time){ (int64_t)seconds, nanoseconds };
	return nanoseconds < NSEC;
}

// Bits 12 to 15 of a mode are the type, inode(7): FIFO 1, character device 2, directory 4, block device 6, file 8, symlink 10,
// socket 12. (<linux/stat.h> hides the names from programs that use libc, as this file's tests do.)
#define TYPE_DIRECTORY 4u
#define TYPE_LINK      10u
static unsigned type_of(mode_t mode) { return mode >> 12; }

static bool mode_is_known(mode_t mode)
{
	const unsigned types = 1u << 1 | 1u << 2 | 1u << 4 | 1u << 6 | 1u << 8 | 1u << 10 | 1u << 12;
	return mode < 0x10000 && types >> type_of(mode) & 1;
}

static int attributes_decode(const struct fuse_attr *a, struct fuse_attributes *out)
{
	*out = (struct fuse_attributes){
		.ino = a->ino,
		.size = a->size,
		.blocks = a->blocks,
		.mode = a->mode,
		.nlink = a->nlink,
		.block_size = a->blksize,
		.uid = a->uid,
		.gid = a->gid,
		.rdev = DEV_MAKE((a->rdev & 0xfff00) >> 8, (a->rdev & 0xff) | (a->rdev >> 12 & 0xfff00)),
		.submount = a->flags & FUSE_ATTR_SUBMOUNT,
	};
	if (!mode_is_known(a->mode) || a->size > INT64_MAX || !time_decode(a->atime, a->atimensec, &out->atime) ||
	    !time_decode(a->mtime, a->mtimensec, &out->mtime) || !time_decode(a->ctime, a->ctimensec, &out->ctime))
		return -EIO;
	return 0;
}

static int entry_decode(const struct fuse_entry_out *e, struct fuse_entry *out)
{
	*out = (struct fuse_entry){
		.nodeid = e->nodeid,
		.entry_valid_ns = valid_ns(e->entry_valid, e->entry_valid_nsec),
		.attr_valid_ns = valid_ns(e->attr_valid, e->attr_valid_nsec),
	};
	return e->nodeid ? attributes_decode(&e->attr, &out->attr) : 0;
}

int fuse_decode_entry(const void *payload, size_t size, struct fuse_entry *out)
{
	struct fuse_entry_out e;
	return take(&e, payload, size) ? entry_decode(&e, out) : -EIO;
}

int fuse_decode_create(const void *payload, size_t size, struct fuse_entry *entry, struct fuse_opened *opened)
{
	int error = fuse_decode_entry(payload, size, entry);
	if (error)
		return error;
	if (!entry->nodeid)
		return -EIO;
	return fuse_decode_opened((const char *)payload + sizeof(struct fuse_entry_out),
				  size - sizeof(struct fuse_entry_out), opened);
}

int fuse_decode_lookup_open(const void *payload, size_t size, struct fuse_entry *entry, struct fuse_opened *opened,
			    int *open_error)
{
	struct fuse_open_out o;
	int error = fuse_decode_entry(payload, size, entry);
	if (error)
		return error;
	*open_error = -ENOENT;
	if (!entry->nodeid)
		return 0;
	if (!take(&o, (const char *)payload + sizeof(struct fuse_entry_out), size - sizeof(struct fuse_entry_out)) ||
	    o.padding >= 512)
		return -EIO;
	*opened = (struct fuse_opened){ o.fh, o.open_flags };
	*open_error = -(int)o.padding;
	return 0;
}

// `size` bytes behind an answer: the text of what it says last is there, if that is a symbolic link; or nothing.
static int link_decode(const void *text, size_t size, const struct fuse_entry *of, char *out)
{
	out[0] = 0;
	if (!size)
		return 0;
	if (!of->nodeid || type_of(of->attr.mode) != TYPE_LINK)
		return -EIO;
	long n = fuse_decode_link(text, size, out, BROKER_LINK_MAX + 1);
	return n < 0 ? (int)n : 0;
}

int fuse_decode_lookup_open_link(const void *payload, size_t size, const struct fuse_entry *entry,
				 char out[BROKER_LINK_MAX + 1])
{
	const size_t head = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out);
	return link_decode((const char *)payload + head, size > head ? size - head : 0, entry, out);
}

int fuse_decode_walk(const void *payload, size_t size, unsigned asked, struct fuse_walk *out)
{
	struct broker_walk_out head;
	const char *at = payload;
	if (!take(&head, payload, size) || !head.count || head.count > min(asked, BROKER_WALK_MAX))
		return -EIO;
	at += sizeof(head);
	size -= sizeof(head);
	out->count = head.count;
	for (unsigned k = 0; k < head.count; k++) {
		struct fuse_entry *e = &out->steps[k];
		int error = fuse_decode_entry(at, size, e);
		if (error)
			return error;
		if (k + 1 < head.count && (!e->nodeid || type_of(e->attr.mode) != TYPE_DIRECTORY))
			return -EIO;
		at += sizeof(struct fuse_entry_out);
		size -= sizeof(struct fuse_entry_out);
	}
	return size == head.link_bytes ? link_decode(at, size, &out->steps[head.count - 1], out->link) : -EIO;
}

int fuse_decode_attributes(const void *payload, size_t size, struct fuse_attributes *out, uint64_t *valid)
{
	struct fuse_attr_out a;
	if (!take(&a, payload, size))
		return -EIO;
	*valid = valid_ns(a.attr_valid, a.attr_valid_nsec);
	return attributes_decode(&a.attr, out);
}

int fuse_decode_opened(const void *payload, size_t size, struct fuse_opened *out)
{
	struct fuse_open_out o;
	if (!take(&o, payload, size))
		return -EIO;
	*out = (struct fuse_opened){ o.fh, o.open_flags };
	return 0;
}

int fuse_decode_written(const void *payload, size_t size, uint32_t asked, uint32_t *written)
{
	struct fuse_write_out o;
	if (!take(&o, payload, size) || o.size > asked)
		return -EIO;
	*written = o.size;
	return 0;
}

int fuse_decode_statistics(const void *payload, size_t size, struct fuse_statistics *out)
{
	struct fuse_statfs_out o;
	if (!take(&o, payload, size))
		return -EIO;
	*out = (struct fuse_statistics){
		.blocks = o.st.blocks,
		.blocks_free = o.st.bfree,
		.blocks_available = o.st.bavail,
		.files = o.st.files,
		.files_free = o.st.ffree,
		.block_size = o.st.bsize,
		.fragment_size = o.st.frsize,
		.name_max = o.st.namelen,
	};
	return 0;
}

int fuse_decode_seek(const void *payload, size_t size, int64_t *offset)
{
	struct fuse_lseek_out o;
	if (!take(&o, payload, size) || o.offset > INT64_MAX)
		return -EIO;
	*offset = (int64_t)o.offset;
	return 0;
}

int fuse_decode_xattr_size(const void *payload, size_t size, uint32_t *value_bytes)
{
	struct fuse_getxattr_out o;
	if (!take(&o, payload, size))
		return -EIO;
	*value_bytes = o.size;
	return 0;
}

long fuse_decode_link(const void *payload, size_t size, char *out, size_t capacity)
{
	if (!size || size >= capacity || size >= PATH_LIMIT)
		return -EIO;
	memcpy(out, payload, size);
	out[size] = 0;
	return memchr(out, 0, size) ? -EIO : (long)size;
}

static bool name_is_good(const char *name, size_t length)
{
	return !memchr(name, 0, length) && !memchr(name, '/', length);
}

static bool name_is_dots(const char *name, size_t length)
{
	return name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.'));
}

int fuse_decode_dirent(const void *payload, size_t size, size_t *at, bool plus, struct fuse_directory_entry *out)
{
	const char *from = (const char *)payload + *at;
	size_t left = size - *at;
	struct fuse_dirent d;
	size_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	if (left < head)
		return 0; // the tail a server leaves when the next entry does not fit
	out->has_entry = false;
	if (plus) {
		int error = fuse_decode_entry(from, left, &out->entry);
		if (error)
			return error;
		out->has_entry = out->entry.nodeid != 0;
	}
	memcpy(&d, from + head - FUSE_NAME_OFFSET, FUSE_NAME_OFFSET);
	if (!d.namelen || d.namelen > FUSE_NAME_BYTES_MAX || d.namelen > left - head || d.off > INT64_MAX)
		return -EIO;
	memcpy(out->name, from + head, d.namelen);
	out->name[d.namelen] = 0;
	if (!name_is_good(out->name, d.namelen))
		return -EIO;
	if (name_is_dots(out->name, d.namelen))
		out->has_entry = false; // no lookup is counted for these
	out->name_length = d.namelen;
	out->ino = d.ino;
	out->next_offset = (int64_t)d.off;
	out->type = d.type & 15;
	*at += min(left, FUSE_REC_ALIGN(head + d.namelen));
	return 1;
}

// ---- requests ----

void fuse_begin(struct fuse_builder *b, void *memory, size_t capacity)
{
	*b = (struct fuse_builder){ memory, capacity, sizeof(struct fuse_in_header),
				    capacity < sizeof(struct fuse_in_header) };
}

void fuse_put(struct fuse_builder *b, const void *data, size_t size)
{
	if (b->overflow || size > b->capacity - b->size) {
		b->overflow = true;
		return;
	}
	memcpy(b->memory + b->size, data, size);
	b->size += size;
}

void fuse_put_name(struct fuse_builder *b, const char *name, size_t length)
{
	fuse_put(b, name, length);
	fuse_put(b, "", 1);
}

int fuse_finish(struct fuse_builder *b, const struct fuse_in_header *header, size_t extra_bytes)
{
	struct fuse_in_header h = *header;
	if (b->overflow || b->size + extra_bytes > UINT32_MAX)
		return -ENAMETOOLONG;
	h.len = (uint32_t)(b->size + extra_bytes);
	memcpy(b->memory, &h, sizeof(h));
	return 0;
}

uint32_t fuse_encode_rdev(dev_t d) { return (uint32_t)dev_to_user(d); }
