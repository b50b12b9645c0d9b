// SPDX-License-Identifier: Apache-2.0
// For the unit tests of kernel/vfs: the whole of the VFS, tmpfs and pipes run as they are; memory, sleeping and processes are
// stubs of one task that never has to wait. "User" pointers are the test's own. Include once, after cmocka.h.
#pragma once

#undef __GLIBC__ // cmocka.h brought it; <linux/stat.h> would leave S_IFMT and kin to glibc

#include "mount.h"
#include "kernel/boot_config.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/mm.h"
#include "kernel/random.h"
#include "kernel/sched.h"
#include "kernel/timer.h"
#include "kernel/tmpfs.h"
#include "lib/string.h"
#include "port/fake_spinlock.h"

void *calloc(size_t count, size_t size); // <stdlib.h> and <asm/signal.h> do not go together
void free(void *p);
int rand(void);
void srand(unsigned seed);
_Noreturn void abort(void);

_Thread_local struct task *fake_current;
_Thread_local unsigned fake_cpu;

static struct task fake_task;
static struct process fake_process;
static int fake_signal;                     // the last one sent
static int64_t fake_allocated;              // live kernel objects
static uint64_t fake_fault_at = UINT64_MAX; // user address that faults
static uint64_t fake_time_skip_ns;          // to let time pass
static unsigned fake_populated;             // counted
static struct mm *fake_mm = (struct mm *)1; // never looked into

// ---- port ----

uint64_t port_time_ns(void)
{
	static uint64_t now;
	return (now += 1000) + fake_time_skip_ns;
}
uint64_t port_user_end(void) { return UINT64_MAX / 2; }
void port_lock_wake(uint32_t *word) {}

static size_t before_fault(uint64_t user, size_t size)
{
	return user <= fake_fault_at && fake_fault_at < user + size ? fake_fault_at - user : size;
}
size_t port_copy_in(void *to, uint64_t from, size_t size)
{
	size_t n = from ? before_fault(from, size) : 0;
	memcpy(to, (void *)from, n);
	return size - n;
}
size_t port_copy_out(uint64_t to, const void *from, size_t size)
{
	size_t n = to ? before_fault(to, size) : 0;
	memcpy((void *)to, from, n);
	return size - n;
}
size_t port_clear_out(uint64_t to, size_t size)
{
	memset((void *)to, 0, size);
	return 0;
}
long string_from_user(char *to, struct uptr from, size_t size)
{
	if (!from.address)
		return -EFAULT;
	size_t length = strnlen((char *)from.address, size);
	if (length == size)
		return -ENAMETOOLONG;
	memcpy(to, (char *)from.address, length + 1);
	return (long)length;
}
int copy_struct_from_user(void *to, size_t size, struct uptr from, size_t user_size)
{
	memset(to, 0, size);
	memcpy(to, (void *)from.address, min(size, user_size));
	return 0;
}

// ---- ids: the first user namespace ----

uint32_t id_meant_slow(const struct cred *c, enum id_kind kind, uint32_t id) { return id; }
uint32_t id_shown_slow(const struct cred *c, enum id_kind kind, uint32_t kept) { return kept; }
bool id_is_mapped(const struct cred *c, enum id_kind kind, uint32_t kept) { return true; }
bool cred_capable_in(const struct cred *c, const struct user_namespace *n, unsigned cap)
{
	return cred_capable_own(c, cap);
}

// ---- namespaces: the first mount namespace ----

struct mnt_namespace mnt_namespace_first;
struct mnt_namespace *mnt_namespace_mine(void) { return &mnt_namespace_first; }
// No file stands for one.
const struct namespace_type mnt_namespace_type;
struct namespace *namespace_of_inode(const struct inode *i) { return (void)i, NULL; }
struct user_namespace user_namespace_initial;
struct user_namespace *cred_namespace(const struct cred *c) { return &user_namespace_initial; }
bool user_namespace_is_below(const struct user_namespace *n, const struct user_namespace *above) { return true; }
void namespace_put(struct namespace *n) {}
void mnt_namespace_root_get(struct mnt_namespace *n, struct path *out)
{
	*out = (struct path){ n->root, n->root->root };
	path_get(out);
}

pid_t pid_shown_slow(pid_t number) { return number; }
pid_t pid_meant_slow(pid_t number) { return number; }

// ---- memory ----

struct slab_cache {
	size_t size;
};
struct slab_cache *slab_cache_create(const char *name, size_t size, size_t alignment)
{
	struct slab_cache *c = calloc(1, sizeof(*c));
	c->size = size;
	return c;
}
void *kalloc(size_t size)
{
	fake_allocated++;
	return calloc(1, size);
}
void *kalloc_atomic(size_t size) { return kalloc(size); }
void kfree(void *p)
{
	fake_allocated -= p != NULL;
	free(p);
}
void *slab_alloc(struct slab_cache *c) { return kalloc(c->size); }
void slab_free(struct slab_cache *c, void *p) { kfree(p); }
char *kstrdup(const char *s) { return memcpy(kalloc(strlen(s) + 1), s, strlen(s) + 1); }
void *radix_node_allocate(size_t size) { return calloc(1, size); }
void radix_node_free(void *node, size_t size) { free(node); }
void page_stats_get(struct page_stats *out) { *out = (struct page_stats){ .total_pages = 65536, .free_pages = 65536 }; }
void reclaim_register(uint64_t (*shrink)(uint64_t target)) {}
void leak_pages_kept(int64_t count) {}
struct page *page_alloc(unsigned order, unsigned flags)
{
	struct page *p = kalloc(sizeof(*p) + (PAGE_SIZE << order));
	refcount_set(&p->refs, 1);
	return p;
}
void page_free(struct page *p) { kfree(p); }
void *page_address(const struct page *p) { return (char *)p + sizeof(*p); }

void mobj_init(struct mobj *o, const struct mobj_ops *ops, struct inode *inode)
{
	*o = (struct mobj){ .ops = ops, .inode = inode };
	list_init(&o->vmas);
}
void mobj_get(struct mobj *o) { inode_get(o->inode); }
int mobj_get_page(struct mobj *o, uint64_t index, bool fill, struct page **out)
{
	*out = radix_lookup(&o->pages, index);
	if (!*out && fill) {
		int error = o->ops->charge(o, 1);
		if (error)
			return error;
		*out = page_alloc(0, 0);
		radix_insert(&o->pages, index, *out);
	}
	if (*out)
		page_get(*out);
	return 0;
}
void mobj_truncate(struct mobj *o, uint64_t start, uint64_t end)
{
	uint64_t index = (start + PAGE_SIZE - 1) >> PAGE_SHIFT;
	struct page *p;
	if (start & ~PAGE_MASK && (p = radix_lookup(&o->pages, start >> PAGE_SHIFT)))
		memset((char *)page_address(p) + (start & ~PAGE_MASK), 0, PAGE_SIZE - (start & ~PAGE_MASK));
	while ((p = radix_next(&o->pages, &index)) && (end == UINT64_MAX || index < end >> PAGE_SHIFT)) {
		radix_remove(&o->pages, index);
		o->ops->charge(o, -1);
		page_put(p);
	}
}
void mobj_destroy(struct mobj *o) { mobj_truncate(o, 0, UINT64_MAX); }
int mm_populate(struct mm *mm, uint64_t start, uint64_t size, bool write)
{
	fake_populated++;
	return 0;
}
int mobj_sync(struct mobj *o, uint64_t start, uint64_t end, bool wait) { return 0; }
void mobj_invalidate(struct mobj *o, uint64_t start, uint64_t end) {}
ssize_t filemap_read(struct mobj *o, struct iov_iter *to, loff_t *pos)
{
	ssize_t done = 0;
	while (to->count && (uint64_t)*pos < o->size_bytes) {
		size_t offset = *pos & ~PAGE_MASK,
		       n = min(min(to->count, PAGE_SIZE - offset), o->size_bytes - (uint64_t)*pos);
		struct page *p = radix_lookup(&o->pages, (uint64_t)*pos >> PAGE_SHIFT);
		size_t got = p ? iov_copy_to(to, (char *)page_address(p) + offset, n) : iov_zero(to, n);
		*pos += (loff_t)got;
		done += (ssize_t)got;
		if (got < n)
			return done ? done : -EFAULT;
	}
	return done;
}
ssize_t filemap_write(struct mobj *o, struct iov_iter *from, loff_t *pos)
{
	ssize_t done = 0;
	while (from->count) {
		size_t offset = *pos & ~PAGE_MASK, n = min(from->count, PAGE_SIZE - offset);
		struct page *p;
		int error = mobj_get_page(o, (uint64_t)*pos >> PAGE_SHIFT, true, &p);
		if (error)
			return done ? done : error;
		size_t got = iov_copy_from((char *)page_address(p) + offset, from, n);
		page_put(p);
		*pos += (loff_t)got;
		done += (ssize_t)got;
		o->size_bytes = max(o->size_bytes, (uint64_t)*pos);
		if (got < n)
			return done ? done : -EFAULT;
	}
	return done;
}

// ---- locks and sleeping: one task ----

void mutex_init(struct mutex *m) { *m = (struct mutex){ 0 }; }
void mutex_lock(struct mutex *m)
{
	assert_int_equal(m->word, 0);
	m->word = 1;
}
int mutex_lock_killable(struct mutex *m)
{
	mutex_lock(m);
	return 0;
}
void mutex_unlock(struct mutex *m)
{
	assert_int_equal(m->word, 1);
	m->word = 0;
}
void rwsem_read_lock(struct rwsem *s)
{
	assert_int_equal(s->word, 0);
	s->word = 1;
}
void rwsem_read_unlock(struct rwsem *s)
{
	assert_int_equal(s->word, 1);
	s->word = 0;
}
void rwsem_write_lock(struct rwsem *s)
{
	assert_int_equal(s->word, 0);
	s->word = -1;
}
void rwsem_write_unlock(struct rwsem *s)
{
	assert_int_equal(s->word, -1);
	s->word = 0;
}
void waiter_init(struct waiter *w) { list_init(&w->node); }
void waitq_add(struct waitq *q, struct waiter *w) {}
void waitq_remove(struct waitq *q, struct waiter *w) {}
void waitq_wake_events(struct waitq *q, unsigned exclusive, unsigned events) {}
void task_prepare_park(enum park_mode mode) {}
void task_finish_park(void) {}
int task_park(uint64_t deadline_ns) { return -EINTR; } // what would wait for ever is interrupted
void sched_preempt_point(void) {}

// ---- processes ----

bool fatal_signal_pending(struct task *t) { return false; }
uint64_t process_rlimit(struct process *p, unsigned resource) { return p->rlimits[resource].rlim_cur; }
int signal_send_task(struct task *t, int signal, const siginfo_t *info) { return fake_signal = signal, 0; }
int signal_send_process(struct process *p, int signal, const siginfo_t *info) { return fake_signal = signal, 0; }
int signal_send_group(pid_t group, int signal, const siginfo_t *info) { return fake_signal = signal, 0; }
struct pid *pid_find(pid_t number) { return NULL; }
void pid_put(struct pid *p) {}
struct task *task_find(pid_t tid) { return NULL; }
void task_put(struct task *t) {}
bool cred_in_group(const struct cred *c, gid_t gid)
{
	for (unsigned k = 0; k < c->group_count; k++)
		if (c->groups[k] == gid)
			return true;
	return c->fsgid == gid;
}
struct cred *cred_copy(const struct cred *c, unsigned group_count)
{
	struct cred *copy = kalloc(sizeof(*copy) + group_count * sizeof(gid_t));
	memcpy(copy, c, sizeof(*c));
	refcount_set(&copy->refs, 1);
	return copy;
}
void cred_put(const struct cred *c)
{
	if (refcount_put(&((struct cred *)c)->refs))
		kfree((void *)c);
}

// ---- others ----

struct boot_config boot_config;

int64_t clock_realtime_ns(void) { return INT64_C(1700000000000000000) + (int64_t)port_time_ns(); }
uint64_t random_u64(void) { return 0x9e3779b97f4a7c15; }
void klog(const char *format, ...) {}
void epoll_release_file(struct file *f) {}
int file_set_async(struct file *f, int fd, bool on) { return 0; }
void file_async_release(struct file *f) {}
void file_owner_tell(const struct file_owner *o, int fd) {}
const struct file_ops chrdev_open_ops;
void kernel_assert_failed(const char *expression, const char *file, int line)
{
	fail_msg("%s:%d: %s", file, line, expression);
	abort();
}

extern const struct init_entry __start_init_table_1[], __stop_init_table_1[], __start_init_table_2[],
	__stop_init_table_2[];

// A system with an empty tmpfs at /, a task of root's at its root, and an empty descriptor table.
static void fake_kernel_create(void)
{
	for (const struct init_entry *e = __start_init_table_1; e < __stop_init_table_1; e++)
		e->fn();
	for (const struct init_entry *e = __start_init_table_2; e < __stop_init_table_2; e++)
		e->fn();
	for (unsigned i = 0; i < RLIM_NLIMITS; i++)
		fake_process.rlimits[i] = (struct rlimit64){ RLIM64_INFINITY, RLIM64_INFINITY };
	fake_process.rlimits[RLIMIT_NOFILE].rlim_cur = 1024;
	struct cred root = { .cap_effective = UINT64_MAX, .cap_permitted = UINT64_MAX };
	refcount_set(&root.refs, 1);
	fake_task.cred = cred_copy(&root, 0);
	fake_task.process = &fake_process;
	fake_task.mm = fake_mm;
	fake_current = &fake_task;
	assert_int_equal(mount_at("tmpfs", "none", "/", 0, "size=64m,mode=755"), 0);
	fake_task.fs = fs_context_copy(NULL);
	fake_task.files = files_create();
}

#define U(p) ((struct uptr){ (uint64_t)(p) })
