// SPDX-License-Identifier: Apache-2.0
// Core files: whether there is to be one, what it is called, and that every thread stands still and tells its registers while it is
// written. core(5).
//
// The thread that the signal hit has begun the group's exit and sent all others there. Each of them comes by core_dump_join() in its own exit,
// before it gives anything up, adds what it was to the list and sleeps until the file is written. process.core, its fields and `missing`
// are under sighand->lock.
#include "coredump.h"

#include "kernel/coredump.h"
#include "kernel/uts.h"
#include "lib/string.h"

#define CORE_BYTES_MIN PAGE_SIZE // with a lower limit there is none at all

struct core_dump {
	struct refcount refs; // who writes, and who waits
	int signal;
	unsigned missing;    // threads that have not come yet
	bool done;           // atomic
	struct list threads; // struct core_thread, the guilty one first
	struct waitq wait;   // for `missing` or `done`
};

// ---- settings ----

uint32_t core_uses_pid;
static struct spinlock pattern_lock = SPINLOCK_INIT;
static char core_pattern[CORE_PATTERN_BYTES] = "core"; // pattern_lock

void core_pattern_get(char out[CORE_PATTERN_BYTES])
{
	spin_lock(&pattern_lock);
	memcpy(out, core_pattern, CORE_PATTERN_BYTES);
	spin_unlock(&pattern_lock);
}

int core_pattern_set(const char *pattern)
{
	if (pattern[0] == '|')
		return -EINVAL;
	spin_lock(&pattern_lock);
	string_copy(core_pattern, pattern, CORE_PATTERN_BYTES);
	spin_unlock(&pattern_lock);
	return 0;
}

// ---- the others ----

static void core_put(struct core_dump *c)
{
	struct core_thread *t, *next;
	if (!refcount_put(&c->refs))
		return;
	list_for_each_safe (t, next, &c->threads, node)
		kfree(t);
	kfree(c);
}

static void add_thread(struct core_dump *c, struct core_thread *t)
{
	t->status.signo = c->signal;
	t->status.cursig = (int16_t)c->signal;
	list_add_tail(&c->threads, &t->node);
}

void core_dump_join(void)
{
	struct process *p = current->process;
	struct core_thread *t = core_thread_create();
	struct sighand *s = process_sighand_lock(p);
	struct core_dump *c = p->core;
	if (c) {
		refcount_get(&c->refs);
		c->missing--;
		if (t)
			add_thread(c, t);
	}
	spin_unlock(&s->lock);
	if (!c) {
		kfree(t);
		return;
	}
	waitq_wake_all(&c->wait);
	wait_event(&c->wait, __atomic_load_n(&c->done, __ATOMIC_ACQUIRE));
	core_put(c);
}

void core_dump_miss(struct process *p)
{
	p->core->missing--;
	waitq_wake_all(&p->core->wait);
}

static bool all_there(struct process *p, struct core_dump *c)
{
	struct sighand *s = process_sighand_lock(p);
	bool there = !c->missing;
	spin_unlock(&s->lock);
	return there;
}

static void finish(struct process *p, struct core_dump *c, bool dumped)
{
	struct sighand *s = process_sighand_lock(p);
	p->core = NULL;
	if (dumped && !p->core_abandoned)
		p->exit_code |= 0x80; // WCOREDUMP()
	__atomic_store_n(&c->done, true, __ATOMIC_RELEASE);
	spin_unlock(&s->lock);
	waitq_wake_all(&c->wait);
}

// ---- the file ----

static int name_print(char *out, int signal, uint64_t limit)
{
	struct task *t = current;
	char pattern[CORE_PATTERN_BYTES], host[UTS_NAME_BYTES], comm[16];
	char *buffer = kalloc(PATH_MAX_BYTES);
	if (!buffer)
		return -ENOMEM;
	const char *exe = t->mm->exe ? path_print(&t->mm->exe->path, buffer, PATH_MAX_BYTES) : "";
	core_pattern_get(pattern);
	uts_hostname(host);
	task_comm_get(t, comm);
	struct core_name n = {
		.pid = t->process->pid,
		.tid = t->tid,
		.uid = t->cred->uid,
		.gid = t->cred->gid,
		.signal = signal,
		.limit = limit,
		.time = timestamp_now().seconds,
		.host = host,
		.comm = comm,
		.exe = is_err(exe) ? "" : exe,
	};
	int error =
		core_name_print(out, PATH_MAX_BYTES, pattern, __atomic_load_n(&core_uses_pid, __ATOMIC_RELAXED), &n);
	kfree(buffer);
	return error;
}

// What has the name goes: nothing is written through a link, or into what somebody else holds open. err_ptr.
static struct file *file_create(const char *name)
{
	(void)path_remove(AT_FDCWD, name, false);
	struct file *f = file_open(name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0600);
	if (is_err(f) || inode_is_reg(f->inode))
		return f;
	file_put(f);
	return err_ptr(-EINVAL);
}

static bool write_file(struct core_dump *c, const siginfo_t *info)
{
	uint64_t limit = process_rlimit(current->process, RLIMIT_CORE);
	char *name = kalloc(PATH_MAX_BYTES);
	bool dumped = false;
	if (name && !name_print(name, c->signal, limit)) {
		struct file *f = file_create(name);
		if (!is_err(f)) {
			dumped = core_write(f, &c->threads, info, limit);
			file_put(f);
		}
	}
	kfree(name);
	return dumped;
}

// ---- when ----

struct core_dump *core_dump_prepare(int signal)
{
	struct task *t = current;
	if (!t->mm->dumpable || process_rlimit(t->process, RLIMIT_CORE) < CORE_BYTES_MIN)
		return NULL;
	struct core_dump *c = kalloc(sizeof(*c));
	struct core_thread *guilty = c ? core_thread_create() : NULL;
	if (!guilty) {
		kfree(c);
		return NULL;
	}
	refcount_set(&c->refs, 1);
	c->signal = signal;
	list_init(&c->threads);
	waitq_init(&c->wait);
	add_thread(c, guilty);
	return c;
}

void core_dump_begin(struct core_dump *c)
{
	struct process *p = current->process;
	p->core = c;
	c->missing = p->live_count - 1;
	task_work_clear(current, WORK_SIGNAL | WORK_STOP); // the last one has been taken: nothing interrupts any more
}

void core_dump_end(struct core_dump *c, const siginfo_t *info)
{
	struct process *p = current->process;
	if (p->core == c) { // else somebody else's exit came first
		wait_event(&c->wait, all_there(p, c));
		finish(p, c, write_file(c, info));
	}
	core_put(c);
}
