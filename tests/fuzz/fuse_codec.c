// SPDX-License-Identifier: Apache-2.0
// Fuzzes the FUSE codec: whatever virtiofsd answers is refused or makes sense.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"

static void check_attributes(const struct fuse_attributes *a)
{
	if ((int64_t)a->size < 0 || a->atime.nanoseconds > 999999999 || a->mtime.nanoseconds > 999999999 ||
	    a->ctime.nanoseconds > 999999999)
		abort();
}

static void decode_directory(const uint8_t *payload, size_t size, bool plus)
{
	struct fuse_directory_entry e;
	size_t at = 0, before;
	int result;

	do {
		before = at;
		result = fuse_decode_dirent(payload, size, &at, plus, &e);
		if (at > size)
			abort();
		if (result == 1) {
			if (at <= before || e.name_length == 0 || e.name_length > FUSE_NAME_BYTES_MAX ||
			    e.name[e.name_length] != 0 || memchr(e.name, '/', e.name_length) ||
			    memchr(e.name, 0, e.name_length))
				abort();
			if (e.has_entry && e.entry.nodeid)
				check_attributes(&e.entry.attr);
		}
	} while (result == 1);
}

static void decode(unsigned kind, const uint8_t *payload, size_t size)
{
	union {
		struct fuse_parameters parameters;
		struct fuse_statistics statistics;
		struct fuse_attributes attributes;
		struct fuse_opened opened;
	} u;
	struct fuse_entry entry;
	struct fuse_opened opened;
	uint64_t valid;
	uint32_t written;
	int64_t offset;
	size_t length;
	char link[257];

	memset(&u, 0, sizeof(u));
	switch (kind) {
	case 0: fuse_decode_header(payload, size, 7, &length); break;
	case 1:
		if (fuse_decode_init(payload, size, &u.parameters) == 0 &&
		    (u.parameters.max_write < 4096 || u.parameters.max_pages == 0))
			abort();
		break;
	case 2:
		if (fuse_decode_entry(payload, size, &entry) == 0 && entry.nodeid)
			check_attributes(&entry.attr);
		break;
	case 3: fuse_decode_create(payload, size, &entry, &opened); break;
	case 4:
		if (fuse_decode_attributes(payload, size, &u.attributes, &valid) == 0)
			check_attributes(&u.attributes);
		break;
	case 5: fuse_decode_opened(payload, size, &u.opened); break;
	case 6:
		if (fuse_decode_written(payload, size, 1000, &written) == 0 && written > 1000)
			abort();
		break;
	case 7: fuse_decode_statistics(payload, size, &u.statistics); break;
	case 8: fuse_decode_seek(payload, size, &offset); break;
	case 9: fuse_decode_xattr_size(payload, size, &written); break;
	case 10: {
		long n = fuse_decode_link(payload, size, link, sizeof(link));
		if (n >= 0 && (n == 0 || n >= (long)sizeof(link) || link[n] != 0 || memchr(link, 0, n)))
			abort();
		break;
	}
	case 11: decode_directory(payload, size, false); break;
	case 12: decode_directory(payload, size, true); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	// A block of its own, so that a read behind it is caught.
	uint8_t *payload = malloc(size);
	memcpy(payload, data + 1, size - 1);
	decode(data[0] % 13, payload, size - 1);
	free(payload);
	return 0;
}
