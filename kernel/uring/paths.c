// SPDX-License-Identifier: Apache-2.0
// Operations on names: IORING_OP_OPENAT, _OPENAT2, _CLOSE, _STATX, _RENAMEAT, _UNLINKAT, _MKDIRAT, _SYMLINKAT, _LINKAT.
//
// Paths are copied when the entry is taken. An opening that changes something goes to a worker, any other is tried at once with O_NONBLOCK, as
// on Linux: so one of a FIFO does not wait for the other end.
#include "files.h"

#include <linux/openat2.h>
#include <linux/stat.h>

#define CHANGES (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))

struct names {
	char *first, *second;
	struct open_how how;
};

static void names_free(struct names *n)
{
	path_string_free(n->first);
	path_string_free(n->second);
	kfree(n);
}

static char *string_of(uint64_t address, int *error)
{
	char *s = path_string_get((struct uptr){ address });

	if (!is_err(s))
		return s;
	*error = (int)ptr_err(s);
	return NULL;
}

static bool may_be_empty(const struct uring_request *r)
{
	return r->sqe.opcode == IORING_OP_STATX || r->sqe.opcode == IORING_OP_LINKAT;
}

// Copies one or two paths; second 0: there is none.
static int names_get(struct uring_request *r, uint64_t first, uint64_t second, bool two)
{
	struct names *n = kalloc(sizeof(*n));
	int error = 0;

	if (!n)
		return -ENOMEM;
	n->first = string_of(first, &error);
	if (!error && two)
		n->second = string_of(second, &error);
	if (!error && ((!n->first[0] && !may_be_empty(r)) || (two && !n->second[0])))
		error = -ENOENT;
	if (error) {
		names_free(n);
		return error;
	}
	r->data = n;
	return 0;
}

void uring_names_release(struct uring_request *r) { names_free(r->data); }

static bool names_a_file(const struct uring_request *r) { return r->sqe.flags & IOSQE_FIXED_FILE; }

// ---- open and close ----

int uring_open_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;
	struct open_how how = { .flags = s->open_flags, .mode = s->len };
	int error;

	if (s->buf_index)
		return -EINVAL;
	if (names_a_file(r))
		return -EBADF;
	if (s->opcode == IORING_OP_OPENAT2) {
		if (s->len < sizeof(how))
			return -EINVAL;
		error = copy_struct_from_user(&how, sizeof(how), (struct uptr){ s->addr2 }, s->len);
		if (error)
			return error;
	} else {
		file_how_of(&how, (int)s->open_flags, s->len);
	}
	if (s->file_index && how.flags & O_CLOEXEC)
		return -EINVAL;
	error = names_get(r, s->addr, 0, false);
	if (!error)
		((struct names *)r->data)->how = how;
	return error;
}

int uring_open_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	const struct names *n = r->data;
	struct open_how how = n->how;
	struct file *f;

	if (!wait && how.flags & CHANGES)
		return -EAGAIN;
	if (!wait && !(how.flags & O_PATH))
		how.flags |= O_NONBLOCK;
	f = file_open_how(s->fd, n->first, &how);
	if (is_err(f))
		return (int)ptr_err(f);
	if (!(n->how.flags & O_NONBLOCK))
		__atomic_and_fetch(&f->flags, ~(uint32_t)O_NONBLOCK, __ATOMIC_RELAXED);
	return s->file_index ? uring_files_install(r->ring, f, s->file_index)
			     : fd_install_new(f, n->how.flags & O_CLOEXEC);
}

int uring_close_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->off || s->addr || s->len || s->rw_flags || s->buf_index)
		return -EINVAL;
	if (names_a_file(r))
		return -EBADF;
	return s->file_index && s->fd ? -EINVAL : 0;
}

int uring_close_issue(struct uring_request *r, bool wait)
{
	struct file *f;
	bool ring;

	(void)wait;
	if (r->sqe.file_index)
		return uring_files_close(r->ring, r->sqe.file_index - 1);
	f = fd_get_any(r->sqe.fd);
	ring = f && uring_of(f);
	if (f)
		file_put(f);
	return ring ? -EBADF : fd_close(r->sqe.fd);
}

// ---- names ----

int uring_statx_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->buf_index || s->splice_fd_in)
		return -EINVAL;
	return names_a_file(r) ? -EBADF : names_get(r, s->addr, 0, false);
}

int uring_statx_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	const struct names *n = r->data;
	struct statx x;
	int error = path_statx(s->fd, n->first, (int)s->statx_flags, s->len, &x);

	(void)wait;
	return error ? error : copy_to_user((struct uptr){ s->addr2 }, &x, sizeof(x));
}

int uring_unlink_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->off || s->len || s->buf_index || s->splice_fd_in || s->unlink_flags & ~(uint32_t)AT_REMOVEDIR)
		return -EINVAL;
	return names_a_file(r) ? -EBADF : names_get(r, s->addr, 0, false);
}

int uring_unlink_issue(struct uring_request *r, bool wait)
{
	const struct names *n = r->data;

	(void)wait;
	return path_remove(r->sqe.fd, n->first, r->sqe.unlink_flags & AT_REMOVEDIR);
}

int uring_mkdir_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->off || s->rw_flags || s->buf_index || s->splice_fd_in)
		return -EINVAL;
	return names_a_file(r) ? -EBADF : names_get(r, s->addr, 0, false);
}

int uring_mkdir_issue(struct uring_request *r, bool wait)
{
	const struct names *n = r->data;

	(void)wait;
	return path_mkdir(r->sqe.fd, n->first, r->sqe.len);
}

// Two paths: addr and addr2. len: the directory that the second one begins in.
int uring_two_names_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->buf_index || s->splice_fd_in || (s->opcode == IORING_OP_SYMLINKAT && (s->len || s->rw_flags)))
		return -EINVAL;
	return names_a_file(r) ? -EBADF : names_get(r, s->addr, s->addr2, true);
}

int uring_rename_issue(struct uring_request *r, bool wait)
{
	const struct names *n = r->data;

	(void)wait;
	return path_rename(r->sqe.fd, n->first, (int)r->sqe.len, n->second, r->sqe.rename_flags);
}

int uring_symlink_issue(struct uring_request *r, bool wait)
{
	const struct names *n = r->data;

	(void)wait;
	return path_symlink(n->first, r->sqe.fd, n->second);
}

int uring_link_issue(struct uring_request *r, bool wait)
{
	const struct names *n = r->data;

	(void)wait;
	return path_link(r->sqe.fd, n->first, (int)r->sqe.len, n->second, (int)r->sqe.hardlink_flags);
}
