// SPDX-License-Identifier: Apache-2.0
// Pipes and FIFOs. pipe(7), fifo(7), pipe(2).
//
// A pipe is a ring of pages. A write appends to the last page when all its small rest fits there, else it fills fresh
// pages; so a write of up to PIPE_BUF (one page) bytes is in one piece or not at all. The page a reader empties is kept
// for the next writer: one-byte traffic allocates nothing.
//
// Locks: pipe.lock, a mutex, is held while the program's memory is copied (faults take no pipe lock). Order: inode.lock (FIFO,
// guards inode->pipe) -> pipe.lock -> wait queues. Sleepers drop it.
#include "pipe_internal.h"

#include <asm/ioctls.h>
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/limits.h>

#include "kernel/init.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"
#include "lib/string.h"

#define PIPE_SIZE_LIMIT (1u << 31)

unsigned pipe_max_size = 1u << 20;

static const struct file_ops pipe_ops;
static struct slab_cache *cache;

static void init(void) { cache = slab_cache_create("pipe", sizeof(struct pipe), 64); }
KERNEL_INIT(1, init);

// ---- the ring ----

static struct pipe *create(void)
{
	struct pipe *p = slab_alloc(cache);
	if (!p)
		return NULL;
	refcount_set(&p->refs, 1); // of the inode's
	mutex_init(&p->lock);
	waitq_init(&p->read_wait);
	waitq_init(&p->write_wait);
	p->slots = PIPE_SLOTS_DEFAULT;
	p->ring = p->first_ring;
	return p;
}

static void destroy(struct pipe *p)
{
	while (!pipe_empty(p))
		pipe_pop(p);
	if (p->spare)
		page_put(p->spare);
	if (p->ring != p->first_ring)
		kfree(p->ring);
	slab_free(cache, p);
}

struct page *pipe_page_get(struct pipe *p)
{
	struct page *page = p->spare;
	p->spare = NULL;
	return page ? page : page_alloc(0, PAGE_USER);
}

void pipe_push(struct pipe *p, struct page *page, uint32_t offset, uint32_t length, uint32_t flags)
{
	*pipe_slot(p, p->head) = (struct pipe_buffer){ page, offset, length, flags };
	__atomic_store_n(&p->head, p->head + 1, __ATOMIC_RELEASE);
}

void pipe_pop(struct pipe *p)
{
	struct pipe_buffer *b = pipe_slot(p, p->tail);
	struct page *page = b->page;
	b->page = NULL;
	__atomic_store_n(&p->tail, p->tail + 1, __ATOMIC_RELEASE);
	if (!p->spare && (b->flags & PIPE_BUFFER_MERGE) && refcount_read(&page->refs) == 1)
		p->spare = page;
	else
		page_put(page);
}

// ---- waiting ----

void pipe_wake_readers(struct pipe *p)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!waitq_empty(&p->read_wait))
		waitq_wake_events(&p->read_wait, 0, EPOLLIN | EPOLLRDNORM);
}

void pipe_wake_writers(struct pipe *p)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!waitq_empty(&p->write_wait))
		waitq_wake_events(&p->write_wait, 0, EPOLLOUT | EPOLLWRNORM);
}

static bool no_writers(const struct pipe *p) { return !__atomic_load_n(&p->writers, __ATOMIC_RELAXED); }
static bool no_readers(const struct pipe *p) { return !__atomic_load_n(&p->readers, __ATOMIC_RELAXED); }

int pipe_wait_readable(struct pipe *p)
{
	return wait_event_interruptible(&p->read_wait, !pipe_empty(p) || no_writers(p)) ? -ERESTARTSYS : 0;
}

int pipe_wait_writable(struct pipe *p)
{
	return wait_event_interruptible(&p->write_wait, !pipe_full(p) || no_readers(p)) ? -ERESTARTSYS : 0;
}

int pipe_broken(void)
{
	signal_send_task(current, SIGPIPE, NULL);
	return -EPIPE;
}

// ---- reading ----

// Takes what is there. Bytes, or -EFAULT when none could be copied. Lock held.
static ssize_t take(struct pipe *p, struct iov_iter *to)
{
	ssize_t done = 0;
	while (to->count && !pipe_empty(p)) {
		struct pipe_buffer *b = pipe_slot(p, p->tail);
		size_t want = min(to->count, (size_t)b->length);
		size_t got = iov_copy_to(to, (char *)page_address(b->page) + b->offset, want);
		b->offset += (uint32_t)got;
		b->length -= (uint32_t)got;
		done += (ssize_t)got;
		bool packet = b->flags & PIPE_BUFFER_PACKET;
		if (!b->length || (packet && got == want))
			pipe_pop(p);
		if (got < want)
			return done ? done : -EFAULT;
		if (packet)
			break;
	}
	return done;
}

static ssize_t pipe_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct pipe *p = pipe_of(f);
	if (!to->count)
		return 0;
	for (;;) {
		mutex_lock(&p->lock);
		if (likely(!pipe_empty(p))) {
			bool was_full = pipe_full(p);
			ssize_t result = take(p, to);
			bool wake = was_full && !pipe_full(p);
			mutex_unlock(&p->lock);
			if (wake)
				pipe_wake_writers(p);
			return result;
		}
		bool closed = no_writers(p);
		mutex_unlock(&p->lock);
		if (closed)
			return 0;
		if (file_nonblock(f))
			return -EAGAIN;
		int error = pipe_wait_readable(p);
		if (error)
			return error;
	}
}

// ---- writing ----

// Appends the small rest of a write to the last page. True: *error and *done say how it went.
static bool append(struct pipe *p, struct iov_iter *from, ssize_t *done, int *error)
{
	size_t size = from->count & (PAGE_SIZE - 1);
	if (!size || pipe_empty(p))
		return false;
	struct pipe_buffer *b = pipe_slot(p, p->head - 1);
	size_t end = b->offset + b->length;
	if (!(b->flags & PIPE_BUFFER_MERGE) || end + size > PAGE_SIZE)
		return false;
	size_t got = iov_copy_from((char *)page_address(b->page) + end, from, size);
	b->length += (uint32_t)got;
	*done += (ssize_t)got;
	if (got < size)
		*error = -EFAULT;
	return true;
}

// Fills free slots. Stops when the ring is full or nothing is left.
static int fill(struct pipe *p, struct iov_iter *from, uint32_t flags, ssize_t *done)
{
	while (from->count && !pipe_full(p)) {
		struct page *page = pipe_page_get(p);
		if (!page)
			return -ENOMEM;
		size_t size = min(from->count, (size_t)PAGE_SIZE);
		size_t got = iov_copy_from(page_address(page), from, size);
		if (!got) {
			p->spare = page;
			return -EFAULT;
		}
		pipe_push(p, page, 0, (uint32_t)got, flags);
		*done += (ssize_t)got;
		if (got < size)
			return -EFAULT;
	}
	return 0;
}

static ssize_t pipe_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct pipe *p = pipe_of(f);
	ssize_t done = 0;
	int error = 0;
	bool first = true, packet = f->flags & O_DIRECT;
	if (!from->count)
		return 0;
	for (;;) {
		mutex_lock(&p->lock);
		if (unlikely(no_readers(p))) {
			mutex_unlock(&p->lock);
			error = pipe_broken();
			break;
		}
		bool wake = pipe_empty(p) || p->polled;
		if (packet || !first || !append(p, from, &done, &error))
			error = 0;
		first = false;
		if (!error)
			error = fill(p, from, packet ? PIPE_BUFFER_PACKET : PIPE_BUFFER_MERGE, &done);
		mutex_unlock(&p->lock);
		if (wake)
			pipe_wake_readers(p);
		if (error || !from->count)
			break;
		if (file_nonblock(f))
			error = -EAGAIN;
		else
			error = pipe_wait_writable(p);
		if (error)
			break;
	}
	return done ? done : error;
}

// ---- poll, ioctl, size ----

static unsigned pipe_poll(struct file *f, struct poll_table *t)
{
	struct pipe *p = pipe_of(f);
	unsigned events = 0;
	if (!p->polled)
		p->polled = true;
	if (f->mode & FILE_READ)
		poll_wait(t, f, &p->read_wait);
	if (f->mode & FILE_WRITE)
		poll_wait(t, f, &p->write_wait);
	if (f->mode & FILE_READ) {
		if (!pipe_empty(p))
			events |= EPOLLIN | EPOLLRDNORM;
		// A FIFO opened without waiting hangs up only after a writer came and went.
		if (no_writers(p) && f->readahead_start != p->write_opens)
			events |= EPOLLHUP;
	}
	if (f->mode & FILE_WRITE) {
		if (!pipe_full(p))
			events |= EPOLLOUT | EPOLLWRNORM;
		if (no_readers(p))
			events |= EPOLLERR;
	}
	return events;
}

static long pipe_ioctl(struct file *f, unsigned command, uint64_t argument)
{
	struct pipe *p = pipe_of(f);
	if (command != FIONREAD)
		return -ENOIOCTLCMD;
	int bytes = 0;
	mutex_lock(&p->lock);
	for (unsigned k = p->tail; k != p->head; k++)
		bytes += (int)pipe_slot(p, k)->length;
	mutex_unlock(&p->lock);
	return put_user(bytes, (struct uptr){ argument });
}

bool file_is_pipe(const struct file *f) { return f->ops == &pipe_ops; }

long pipe_get_size(struct file *f) { return (long)(pipe_of(f)->slots * PAGE_SIZE); }

static int resize(struct pipe *p, unsigned slots)
{
	struct pipe_buffer *ring = kalloc_array(slots, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	mutex_lock(&p->lock);
	unsigned used = pipe_used(p);
	struct pipe_buffer *old = p->ring;
	if (used > slots) {
		mutex_unlock(&p->lock);
		kfree(ring);
		return -EBUSY;
	}
	for (unsigned k = 0; k < used; k++)
		ring[k] = *pipe_slot(p, p->tail + k);
	p->ring = ring;
	__atomic_store_n(&p->slots, slots, __ATOMIC_RELAXED);
	p->tail = 0;
	p->head = used;
	mutex_unlock(&p->lock);
	if (old != p->first_ring)
		kfree(old);
	pipe_wake_writers(p);
	return 0;
}

long pipe_set_size(struct file *f, uint64_t size)
{
	if (size > PIPE_SIZE_LIMIT)
		return -EINVAL;
	unsigned slots = 1;
	while (slots * PAGE_SIZE < size)
		slots *= 2;
	if (slots * PAGE_SIZE > pipe_max_size && slots > pipe_of(f)->slots &&
	    !cred_capable(current->cred, CAP_SYS_RESOURCE))
		return -EPERM;
	int error = resize(pipe_of(f), slots);
	return error ? error : (long)(slots * PAGE_SIZE);
}

// ---- ends ----

static void pipe_put(struct pipe *p)
{
	if (refcount_put(&p->refs))
		destroy(p);
}

static void attach(struct pipe *p, struct file *f) // lock
{
	refcount_get(&p->refs);
	p->files++;
	if (f->mode & FILE_READ) {
		p->readers++;
		p->read_opens++;
	}
	if (f->mode & FILE_WRITE) {
		p->writers++;
		p->write_opens++;
	}
	f->private = p;
}

// True: it was the last file.
static bool detach(struct pipe *p, unsigned mode) // lock
{
	if (mode & FILE_READ)
		__atomic_store_n(&p->readers, p->readers - 1, __ATOMIC_RELAXED);
	if (mode & FILE_WRITE)
		__atomic_store_n(&p->writers, p->writers - 1, __ATOMIC_RELAXED);
	return --p->files == 0;
}

static void pipe_release(struct file *f)
{
	struct pipe *p = pipe_of(f);
	struct inode *i = f->inode;

	mutex_lock(&i->lock);
	mutex_lock(&p->lock);
	bool last = detach(p, f->mode);
	mutex_unlock(&p->lock);
	if (last)
		i->pipe = NULL;
	mutex_unlock(&i->lock);
	waitq_wake_events(&p->read_wait, 0, EPOLLIN | EPOLLRDNORM | EPOLLHUP);
	waitq_wake_events(&p->write_wait, 0, EPOLLOUT | EPOLLWRNORM | EPOLLERR);
	if (last)
		pipe_put(p); // the inode's
	pipe_put(p);
}

static const struct file_ops pipe_ops = {
	.release = pipe_release,
	.read = pipe_read,
	.write = pipe_write,
	.poll = pipe_poll,
	.async = true,
	.ioctl = pipe_ioctl,
	.stream = true,
};

// ---- pipe(2) ----

int pipe_create(struct file *ends[2], int flags)
{
	struct pipe *p = create();
	if (!p)
		return -ENOMEM;
	struct file *read =
		file_create_anonymous("pipe:", &pipe_ops, p, O_RDONLY | (flags & O_NONBLOCK), S_IFIFO | 0600);
	if (is_err(read)) {
		destroy(p);
		return (int)ptr_err(read);
	}
	// So that /proc/PID/fd/N can be opened: a new end of this pipe.
	p->anonymous = true;
	read->inode->file_ops = &fifo_open_ops;
	read->inode->pipe = p;
	attach(p, read);
	struct file *write =
		file_open_anonymous(read->path.dentry, &pipe_ops, p, O_WRONLY | (flags & (O_NONBLOCK | O_DIRECT)));
	if (is_err(write)) {
		file_put(read);
		return (int)ptr_err(write);
	}
	attach(p, write);
	ends[0] = read;
	ends[1] = write;
	return 0;
}

long sys_pipe2(struct uptr fds, int flags)
{
	struct file *ends[2];
	int numbers[2];
	if (flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
		return -EINVAL;
	int error = pipe_create(ends, flags);
	if (error)
		return error;
	for (int k = 0; k < 2 && !error; k++) {
		numbers[k] = fd_reserve(0, flags & O_CLOEXEC);
		if (numbers[k] < 0) {
			error = numbers[k];
			if (k)
				fd_cancel(numbers[0]);
		}
	}
	if (!error && copy_to_user(fds, numbers, sizeof(numbers))) {
		fd_cancel(numbers[0]);
		fd_cancel(numbers[1]);
		error = -EFAULT;
	}
	for (int k = 0; k < 2; k++) {
		if (error)
			file_put(ends[k]);
		else
			fd_install(numbers[k], ends[k]);
	}
	return error;
}

long sys_pipe(struct uptr fds) { return sys_pipe2(fds, 0); }

// ---- FIFOs ----

// Waits until the other kind of end was opened. Dropping the end on failure is the caller's.
static int wait_partner(struct pipe *p, const unsigned *opens, unsigned seen)
{
	struct waitq *q = opens == &p->write_opens ? &p->read_wait : &p->write_wait;
	return wait_event_interruptible(q, __atomic_load_n(opens, __ATOMIC_RELAXED) != seen) ? -ERESTARTSYS : 0;
}

static int fifo_open(struct inode *i, struct file *f)
{
	unsigned access = f->mode & (FILE_READ | FILE_WRITE);
	mutex_lock(&i->lock);
	if (!i->pipe)
		i->pipe = create();
	struct pipe *p = i->pipe;
	if (!p) {
		mutex_unlock(&i->lock);
		return -ENOMEM;
	}
	mutex_lock(&p->lock);
	int error = access == FILE_WRITE && (f->flags & O_NONBLOCK) && !p->readers && !p->anonymous ? -ENXIO : 0;
	bool wait = !error && !p->anonymous &&
		    ((access == FILE_READ && !p->writers && !(f->flags & O_NONBLOCK)) ||
		     (access == FILE_WRITE && !p->readers));
	if (access == FILE_READ && !p->writers && (f->flags & O_NONBLOCK))
		f->readahead_start = p->write_opens;
	unsigned seen = access == FILE_READ ? p->write_opens : p->read_opens;
	if (!error)
		attach(p, f);
	bool unused = !p->files;
	mutex_unlock(&p->lock);
	if (unused)
		i->pipe = NULL;
	mutex_unlock(&i->lock);
	if (unused)
		pipe_put(p);
	if (error)
		return error;
	f->ops = &pipe_ops;
	waitq_wake_all(&p->read_wait);
	waitq_wake_all(&p->write_wait);
	if (wait)
		error = wait_partner(p, access == FILE_READ ? &p->write_opens : &p->read_opens, seen);
	if (error)
		pipe_release(f); // open.c puts the operations back: no second release
	return error;
}

const struct file_ops fifo_open_ops = { .open = fifo_open, .stream = true };
