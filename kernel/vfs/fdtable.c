// SPDX-License-Identifier: Apache-2.0
// Descriptor tables: which number names which open file. close(2), close_range(2), dup(2) and the borrowing that system
// calls do.
//
// files.lock guards everything. A table that only the current task uses (refs == 1) is read without lock or reference by
// that task: only it could change or close anything; other tasks that get a reference to the table (proc) only look, under
// the lock. A slot that is reserved but not yet installed has its open bit set and holds NULL.
#include "internal.h"

#include <linux/close_range.h>
#include <linux/resource.h>

#include "kernel/init.h"
#include "lib/bitmap.h"
#include "lib/string.h"

#define FIRST_CAPACITY 64u
#define CAPACITY_MAX   (1u << 20)

// ---- tables ----

static int tables_allocate(unsigned capacity, struct file ***slots, uint64_t **bits)
{
	*slots = kalloc_array(capacity, sizeof(**slots));
	*bits = kalloc_array(2 * BITMAP_WORDS(capacity), sizeof(**bits)); // open, then close-on-exec
	if (*slots && *bits)
		return 0;
	kfree(*slots);
	kfree(*bits);
	return -ENOMEM;
}

static struct files *create(unsigned capacity)
{
	struct files *t = kalloc(sizeof(*t));
	if (!t || tables_allocate(capacity, &t->slots, &t->open_bits)) {
		kfree(t);
		return NULL;
	}
	refcount_set(&t->refs, 1);
	spin_init(&t->lock);
	t->capacity = capacity;
	t->cloexec_bits = t->open_bits + BITMAP_WORDS(capacity);
	return t;
}

struct files *files_create(void) { return create(FIRST_CAPACITY); }

static unsigned highest_open(const struct files *t) // one past; lock
{
	for (size_t word = BITMAP_WORDS(t->capacity); word--;)
		if (t->open_bits[word])
			return (unsigned)(word * 64 + 64 - (unsigned)__builtin_clzll(t->open_bits[word]));
	return 0;
}

unsigned files_max_open(struct files *t)
{
	spin_lock(&t->lock);
	unsigned n = highest_open(t);
	spin_unlock(&t->lock);
	return n;
}

// Copies descriptors below `limit`; `copy` has room for them.
static void copy_slots(struct files *copy, struct files *t, unsigned limit) // t->lock
{
	for (size_t word = 0; word * 64 < limit; word++) {
		uint64_t open = t->open_bits[word];
		copy->cloexec_bits[word] = t->cloexec_bits[word];
		while (open) {
			unsigned bit = (unsigned)__builtin_ctzll(open);
			unsigned fd = (unsigned)word * 64 + bit;
			open &= open - 1;
			struct file *f = fd < limit ? t->slots[fd] : NULL;
			if (!f) { // reserved by a system call of another thread: not the copy's
				copy->cloexec_bits[word] &= ~(UINT64_C(1) << bit);
				continue;
			}
			file_get(f);
			copy->slots[fd] = f;
			copy->open_bits[word] |= UINT64_C(1) << bit;
		}
	}
	copy->next_hint = t->next_hint;
}

static struct files *copy_table(struct files *t, unsigned limit)
{
	for (;;) {
		unsigned needed = min(files_max_open(t), limit);
		struct files *copy = create(max(FIRST_CAPACITY, align_up(needed, 64u)));
		if (!copy)
			return err_ptr(-ENOMEM);
		spin_lock(&t->lock);
		needed = min(highest_open(t), limit);
		bool fits = needed <= copy->capacity;
		if (fits)
			copy_slots(copy, t, needed);
		spin_unlock(&t->lock);
		if (fits)
			return copy;
		files_put(copy); // it grew meanwhile
	}
}

struct files *files_copy(struct files *t) { return copy_table(t, UINT32_MAX); }

struct files *files_get(struct files *t)
{
	refcount_get(&t->refs);
	return t;
}

static int close_file(struct file *f, struct files *owner)
{
	int error = 0;
	if (!(f->mode & FILE_PATH)) {
		if (f->ops->flush)
			error = f->ops->flush(f);
		if (f->inode && !list_empty(&f->inode->locks))
			locks_close(f, owner);
		if (f->inode && unlikely(f->inode->marks) && inode_is_dir(f->inode))
			dnotify_end(f, owner);
	}
	file_put(f);
	return error;
}

void files_put(struct files *t)
{
	if (!t || !refcount_put(&t->refs))
		return;
	for (size_t fd = 0; (fd = bitmap_next_set(t->open_bits, t->capacity, fd)) < t->capacity; fd++)
		if (t->slots[fd])
			close_file(t->slots[fd], t);
	kfree(t->slots);
	kfree(t->open_bits);
	kfree(t);
}

int files_unshare(void)
{
	struct files *t = current->files;
	if (refcount_read(&t->refs) == 1)
		return 0;
	struct files *copy = files_copy(t);
	if (is_err(copy))
		return (int)ptr_err(copy);
	spin_lock(&current->lock);
	current->files = copy;
	spin_unlock(&current->lock);
	files_put(t);
	return 0;
}

// Makes room for `fd`. Lock held; drops and takes it again.
static int grow(struct files *t, unsigned fd)
{
	unsigned capacity = t->capacity;
	while (capacity <= fd)
		capacity *= 2;
	if (capacity > CAPACITY_MAX)
		return -EMFILE;
	spin_unlock(&t->lock);
	struct file **slots;
	uint64_t *bits;
	int error = tables_allocate(capacity, &slots, &bits);
	spin_lock(&t->lock);
	if (error)
		return error;
	void *old_slots = slots, *old_bits = bits; // to be freed: the new ones, if another thread was faster
	if (capacity > t->capacity) {
		memcpy(slots, t->slots, t->capacity * sizeof(*slots));
		memcpy(bits, t->open_bits, BITMAP_WORDS(t->capacity) * 8);
		memcpy(bits + BITMAP_WORDS(capacity), t->cloexec_bits, BITMAP_WORDS(t->capacity) * 8);
		old_slots = t->slots;
		old_bits = t->open_bits;
		t->slots = slots;
		t->open_bits = bits;
		t->cloexec_bits = bits + BITMAP_WORDS(capacity);
		t->capacity = capacity;
	}
	spin_unlock(&t->lock);
	kfree(old_slots); // lockless readers are this task only
	kfree(old_bits);
	spin_lock(&t->lock);
	return 0;
}

// ---- finding ----

static inline struct file *slot(const struct files *t, int fd)
{
	return likely((unsigned)fd < t->capacity) ? t->slots[fd] : NULL;
}

struct file *files_lookup(struct files *t, int fd)
{
	spin_lock(&t->lock);
	struct file *f = slot(t, fd);
	if (f)
		file_get(f);
	spin_unlock(&t->lock);
	return f;
}

struct file *fd_get_any(int fd) { return current->files ? files_lookup(current->files, fd) : NULL; }

struct file *fd_get(int fd)
{
	struct file *f = fd_get_any(fd);
	if (f && (f->mode & FILE_PATH)) {
		file_put(f);
		return NULL;
	}
	return f;
}

struct fd_borrow fd_begin(int fd)
{
	struct files *t = current->files;
	struct fd_borrow b = { NULL, false };
	if (likely(refcount_read(&t->refs) == 1)) {
		b.file = slot(t, fd);
	} else {
		b.file = files_lookup(t, fd);
		b.counted = b.file != NULL;
	}
	if (unlikely(b.file && (b.file->mode & FILE_PATH))) {
		fd_end(b);
		b = (struct fd_borrow){ NULL, false };
	}
	return b;
}

void fd_end(struct fd_borrow b)
{
	if (b.counted)
		file_put(b.file);
}

bool files_is_cloexec(struct files *t, int fd)
{
	spin_lock(&t->lock);
	bool result = (unsigned)fd < t->capacity && bitmap_test(t->cloexec_bits, (size_t)fd);
	spin_unlock(&t->lock);
	return result;
}

int fd_set_cloexec(int fd, bool on)
{
	struct files *t = current->files;
	int error = -EBADF;
	spin_lock(&t->lock);
	if (slot(t, fd)) {
		error = 0;
		if (on)
			bitmap_set(t->cloexec_bits, (size_t)fd);
		else
			bitmap_clear(t->cloexec_bits, (size_t)fd);
	}
	spin_unlock(&t->lock);
	return error;
}

// ---- giving out ----

static void mark_open(struct files *t, unsigned fd, bool cloexec) // lock
{
	bitmap_set(t->open_bits, fd);
	if (cloexec)
		bitmap_set(t->cloexec_bits, fd);
	else
		bitmap_clear(t->cloexec_bits, fd);
}

static void mark_free(struct files *t, unsigned fd) // lock
{
	bitmap_clear(t->open_bits, fd);
	bitmap_clear(t->cloexec_bits, fd);
	if (fd < t->next_hint)
		t->next_hint = fd;
}

int fd_reserve(int from, bool cloexec)
{
	struct files *t = current->files;
	uint64_t limit = process_rlimit(current->process, RLIMIT_NOFILE);
	spin_lock(&t->lock);
	unsigned start = max((unsigned)from, t->next_hint);
	for (;;) {
		size_t fd = start < t->capacity ? bitmap_next_clear(t->open_bits, t->capacity, start) : start;
		int error = fd >= limit ? -EMFILE : 0;
		if (!error && fd < t->capacity) {
			mark_open(t, (unsigned)fd, cloexec);
			if ((unsigned)from <= t->next_hint)
				t->next_hint = (unsigned)fd + 1;
			spin_unlock(&t->lock);
			return (int)fd;
		}
		if (!error)
			error = grow(t, (unsigned)fd);
		if (error) {
			spin_unlock(&t->lock);
			return error;
		}
	}
}

void fd_install(int fd, struct file *f)
{
	struct files *t = current->files;
	spin_lock(&t->lock);
	assert(!t->slots[fd]);
	__atomic_store_n(&t->slots[fd], f, __ATOMIC_RELEASE);
	spin_unlock(&t->lock);
}

void fd_cancel(int fd)
{
	struct files *t = current->files;
	spin_lock(&t->lock);
	mark_free(t, (unsigned)fd);
	spin_unlock(&t->lock);
}

int fd_install_new(struct file *f, bool cloexec)
{
	int fd = fd_reserve(0, cloexec);
	if (fd < 0)
		file_put(f);
	else
		fd_install(fd, f);
	return fd;
}

// ---- closing ----

static struct file *take(struct files *t, unsigned fd) // lock; NULL: not open
{
	struct file *f = slot(t, (int)fd);
	if (f) {
		t->slots[fd] = NULL;
		mark_free(t, fd);
	}
	return f;
}

int fd_close(int fd)
{
	struct files *t = current->files;
	spin_lock(&t->lock);
	struct file *f = take(t, (unsigned)fd);
	spin_unlock(&t->lock);
	return f ? close_file(f, t) : -EBADF;
}

long sys_close(int fd)
{
	int error = fd_close(fd);
	// The descriptor is gone whatever flush said: a restarted close would hit another file.
	return error == -ERESTARTSYS || error == -ERESTARTNOINTR || error == -ERESTARTNOHAND ? -EINTR : error;
}

void files_close_on_exec(struct files *t)
{
	for (size_t word = 0; word < BITMAP_WORDS(t->capacity); word++) {
		for (;;) {
			spin_lock(&t->lock);
			uint64_t bits = t->cloexec_bits[word] & t->open_bits[word];
			struct file *f = bits ? take(t, (unsigned)(word * 64 + (unsigned)__builtin_ctzll(bits))) : NULL;
			spin_unlock(&t->lock);
			if (!f)
				break;
			close_file(f, t);
		}
	}
}

static void close_between(struct files *t, unsigned first, unsigned last)
{
	for (;;) {
		spin_lock(&t->lock);
		size_t fd = first < t->capacity ? bitmap_next_set(t->open_bits, t->capacity, first) : t->capacity;
		bool found = fd < t->capacity && fd <= last;
		struct file *f = found ? take(t, (unsigned)fd) : NULL;
		spin_unlock(&t->lock);
		if (!found)
			return;
		if (f)
			close_file(f, t);
		first = (unsigned)fd + 1;
	}
}

static void cloexec_between(struct files *t, unsigned first, unsigned last)
{
	spin_lock(&t->lock);
	for (size_t fd = first; fd < t->capacity && fd <= last; fd++)
		if (bitmap_test(t->open_bits, fd))
			bitmap_set(t->cloexec_bits, fd);
	spin_unlock(&t->lock);
}

long sys_close_range(unsigned first, unsigned last, unsigned flags)
{
	if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) || first > last)
		return -EINVAL;
	if (flags & CLOSE_RANGE_UNSHARE) {
		int error = files_unshare();
		if (error)
			return error;
	}
	if (flags & CLOSE_RANGE_CLOEXEC)
		cloexec_between(current->files, first, last);
	else
		close_between(current->files, first, last);
	return 0;
}

// ---- dup ----

int fd_replace(int fd, struct file *f, bool cloexec)
{
	struct files *t = current->files;
	if ((unsigned)fd >= process_rlimit(current->process, RLIMIT_NOFILE))
		return -EBADF;
	spin_lock(&t->lock);
	int error = 0;
	while (!error && (unsigned)fd >= t->capacity)
		error = grow(t, (unsigned)fd);
	struct file *old = error ? NULL : t->slots[fd];
	if (!error && !old && bitmap_test(t->open_bits, (size_t)fd))
		error = -EBUSY; // another thread's open(2) has reserved it
	if (!error) {
		file_get(f);
		t->slots[fd] = f;
		mark_open(t, (unsigned)fd, cloexec);
	}
	spin_unlock(&t->lock);
	if (!error && old)
		close_file(old, t);
	return error ? error : fd;
}

static long dup_to(int fd, int new_fd, bool cloexec)
{
	struct file *f = fd_get_any(fd);
	if (!f)
		return -EBADF;
	long result = fd_replace(new_fd, f, cloexec);
	file_put(f);
	return result;
}

long sys_dup3(int fd, int new_fd, int flags)
{
	if (flags & ~O_CLOEXEC || fd == new_fd)
		return -EINVAL;
	return dup_to(fd, new_fd, flags & O_CLOEXEC);
}

long sys_dup2(int fd, int new_fd)
{
	if (fd != new_fd)
		return dup_to(fd, new_fd, false);
	struct file *f = fd_get_any(fd);
	file_put(f);
	return f ? fd : -EBADF;
}

long fd_duplicate(int fd, int from, bool cloexec)
{
	struct file *f = fd_get_any(fd);
	if (!f)
		return -EBADF;
	int new_fd = fd_reserve(from, cloexec);
	if (new_fd < 0)
		file_put(f);
	else
		fd_install(new_fd, f);
	return new_fd;
}

long sys_dup(int fd) { return fd_duplicate(fd, 0, false); }
