// SPDX-License-Identifier: Apache-2.0
// System V semaphores (semget(2), semop(2), semctl(2)).
//
// A set has one lock and one wait queue: whoever changes it wakes all who wait, each tries its operations again. Undo
// records hang on the set; a process's are applied when it ends.
#include <linux/sem.h>

#include "../namespace.h"
#include "ids.h"
#include "kernel/errno.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/sysv.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"
#include "lib/string.h"

#define SETS_MAX       32000u
#define SEMAPHORES_MAX 32000u
#define OPERATIONS_MAX 500u
#define VALUE_MAX      32767

struct semaphore {
	int value;
	pid_t pid;
	unsigned waiting_more, waiting_zero;
};

struct undo {
	struct list node; // set->undos
	pid_t pid;
	int adjust[];
};

struct sem_set {
	struct sysv_object object; // its lock guards what follows
	struct waitq wait;
	struct list undos;
	int64_t changed_s, operated_s;
	uint64_t generation; // grows with every change; atomic
	unsigned count;
	struct semaphore semaphores[];
};

static uint32_t undo_count; // atomic; sets with undo records exist at all

static void set_destroy(struct sysv_object *o)
{
	struct sem_set *s = container_of(o, struct sem_set, object);
	struct undo *u, *next;

	list_for_each_safe (u, next, &s->undos, node) {
		list_remove(&u->node);
		kfree(u);
		__atomic_fetch_sub(&undo_count, 1, __ATOMIC_RELAXED);
	}
	kfree(s);
}

void sem_table_init(struct sysv_table *t) { sysv_table_init(t, SETS_MAX, set_destroy); }

static struct sysv_table *sets(void) { return &ipc_mine()->sets; }

static int64_t now_s(void) { return clock_realtime_ns() / NSEC_PER_SEC; }

static void changed(struct sem_set *s)
{
	__atomic_fetch_add(&s->generation, 1, __ATOMIC_SEQ_CST);
	waitq_wake_all(&s->wait);
}

// ---- semget ----

static int check_count(struct sysv_object *o, void *count)
{
	return *(int *)count > (int)container_of(o, struct sem_set, object)->count ? -EINVAL : 0;
}

static struct sysv_object *create(void *context)
{
	int count = *(int *)context;

	if (count <= 0)
		return err_ptr(-EINVAL);
	struct sem_set *s = kalloc(sizeof(*s) + (size_t)count * sizeof(s->semaphores[0]));
	if (!s)
		return err_ptr(-ENOMEM);
	s->count = (unsigned)count;
	s->changed_s = now_s();
	waitq_init(&s->wait);
	list_init(&s->undos);
	return &s->object;
}

long sys_semget(int key, int count, int flags)
{
	if (count < 0 || count > (int)SEMAPHORES_MAX)
		return -EINVAL;
	return sysv_get(sets(), key, flags, check_count, create, &count);
}

// ---- semop ----

// Tries all operations at once: 0 done, 1 would block at operation *at, or -errno. Nothing is changed unless 0.
static int try_operations(struct sem_set *s, const struct sembuf *ops, unsigned count, unsigned *at)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < count && !result; i++) {
		struct semaphore *m = &s->semaphores[ops[i].sem_num];
		int value = m->value + ops[i].sem_op;
		if (ops[i].sem_op == 0 ? m->value != 0 : value < 0)
			result = ops[i].sem_flg & IPC_NOWAIT ? -EAGAIN : 1;
		else if (value > VALUE_MAX)
			result = -ERANGE;
		else
			m->value = value;
	}
	if (!result)
		return 0;
	*at = --i;
	while (i--)
		s->semaphores[ops[i].sem_num].value -= ops[i].sem_op;
	return result;
}

static struct undo *undo_of(struct sem_set *s, pid_t pid, bool make)
{
	struct undo *u;

	list_for_each (u, &s->undos, node)
		if (u->pid == pid)
			return u;
	if (!make)
		return NULL;
	u = kalloc(sizeof(*u) + s->count * sizeof(u->adjust[0]));
	if (u) {
		u->pid = pid;
		list_add(&s->undos, &u->node);
		__atomic_fetch_add(&undo_count, 1, __ATOMIC_RELAXED);
	}
	return u;
}

static int apply(struct sem_set *s, const struct sembuf *ops, unsigned count, struct undo *undo, unsigned *at)
{
	int result = try_operations(s, ops, count, at);

	if (result)
		return result;
	for (unsigned i = 0; i < count; i++) {
		s->semaphores[ops[i].sem_num].pid = current->process->pid;
		if (ops[i].sem_flg & SEM_UNDO && undo)
			undo->adjust[ops[i].sem_num] -= ops[i].sem_op;
	}
	s->operated_s = now_s();
	changed(s);
	return 0;
}

static int operate(struct sem_set *s, const struct sembuf *ops, unsigned count, uint64_t deadline_ns)
{
	bool wants_undo = false, alters = false;
	struct undo *undo = NULL;

	for (unsigned i = 0; i < count; i++) {
		if (ops[i].sem_num >= s->count)
			return -EFBIG;
		wants_undo |= (ops[i].sem_flg & SEM_UNDO) && ops[i].sem_op;
		alters |= ops[i].sem_op != 0;
	}
	int error = sysv_permission(&s->object, alters ? 0222 : 0444);
	if (error)
		return error;
	for (;;) {
		unsigned at = 0;
		mutex_lock(&s->object.lock);
		if (s->object.removed) {
			mutex_unlock(&s->object.lock);
			return -EIDRM;
		}
		if (wants_undo && !(undo = undo_of(s, current->process->pid, true))) {
			mutex_unlock(&s->object.lock);
			return -ENOMEM;
		}
		int result = apply(s, ops, count, undo, &at);
		struct semaphore *m = &s->semaphores[ops[at].sem_num];
		unsigned *waiting = ops[at].sem_op ? &m->waiting_more : &m->waiting_zero;
		uint64_t seen = s->generation;
		*waiting += result > 0;
		mutex_unlock(&s->object.lock);
		if (result <= 0)
			return result;
		error = wait_event_deadline(&s->wait, __atomic_load_n(&s->generation, __ATOMIC_SEQ_CST) != seen,
					    deadline_ns);
		mutex_lock(&s->object.lock);
		--*waiting;
		mutex_unlock(&s->object.lock);
		if (error)
			return error == -ETIMEDOUT ? -EAGAIN : -EINTR; // never restarted: signal(7)
	}
}

static long semop_until(int id, struct uptr operations, size_t count, uint64_t deadline_ns)
{
	struct sembuf few[8], *ops = few;
	long result;

	if (count < 1 || id < 0)
		return -EINVAL;
	if (count > OPERATIONS_MAX)
		return -E2BIG;
	if (count > array_count(few) && !(ops = kalloc_array(count, sizeof(*ops))))
		return -ENOMEM;
	result = copy_from_user(ops, operations, count * sizeof(*ops));
	if (!result) {
		struct sysv_object *o = sysv_find(sets(), id);
		result = is_err(o)
				 ? ptr_err(o)
				 : operate(container_of(o, struct sem_set, object), ops, (unsigned)count, deadline_ns);
		if (!is_err(o))
			sysv_put(sets(), o);
	}
	if (ops != few)
		kfree(ops);
	return result;
}

long sys_semop(int id, struct uptr operations, size_t count)
{
	return semop_until(id, operations, count, PARK_FOREVER);
}

long sys_semtimedop(int id, struct uptr operations, unsigned count, struct uptr timeout)
{
	uint64_t ns, deadline = PARK_FOREVER;

	if (!uptr_is_null(timeout)) {
		int error = timespec_from_user(&ns, timeout);
		if (error)
			return error;
		if (__builtin_add_overflow(port_time_ns(), ns, &deadline))
			deadline = PARK_FOREVER;
	}
	return semop_until(id, operations, count, deadline);
}

// Undo of one process on one set; set locked.
static void undo_apply(struct sem_set *s, struct undo *u)
{
	for (unsigned i = 0; i < s->count; i++) {
		int value = s->semaphores[i].value + u->adjust[i];
		s->semaphores[i].value = value < 0 ? 0 : min(value, VALUE_MAX);
		if (u->adjust[i])
			s->semaphores[i].pid = u->pid;
	}
	list_remove(&u->node);
	kfree(u);
	__atomic_fetch_sub(&undo_count, 1, __ATOMIC_RELAXED);
	changed(s);
}

void sysv_process_exit(pid_t pid)
{
	if (!__atomic_load_n(&undo_count, __ATOMIC_RELAXED))
		return;
	for (unsigned i = 0; i < SYSV_INDEX_MAX; i++) {
		uint64_t index = i;
		mutex_lock(&sets()->lock);
		struct sysv_object *o = radix_next(&sets()->objects, &index);
		if (o)
			refcount_get(&o->refs);
		mutex_unlock(&sets()->lock);
		if (!o)
			return;
		i = (unsigned)index;
		struct sem_set *s = container_of(o, struct sem_set, object);
		mutex_lock(&o->lock);
		struct undo *u = undo_of(s, pid, false);
		if (u)
			undo_apply(s, u);
		mutex_unlock(&o->lock);
		sysv_put(sets(), o);
	}
}

// ---- semctl ----

static long stat_out(struct sem_set *s, uint64_t argument)
{
	struct semid64_ds d = {
		.sem_perm = { .key = s->object.key,
			      .uid = uid_shown(current->cred, s->object.uid),
			      .gid = gid_shown(current->cred, s->object.gid),
			      .cuid = uid_shown(current->cred, s->object.cuid),
			      .cgid = gid_shown(current->cred, s->object.cgid),
			      .mode = s->object.mode,
			      .seq = (unsigned short)(s->object.id / (int)SYSV_INDEX_MAX) },
		.sem_otime = s->operated_s,
		.sem_ctime = s->changed_s,
		.sem_nsems = s->count,
	};
	return put_user(d, (struct uptr){ argument });
}

static long info(int command, uint64_t argument)
{
	struct seminfo i = { .semmap = 1024000000,
			     .semmni = SETS_MAX,
			     .semmns = 1024000000,
			     .semmnu = 1024000000,
			     .semmsl = SEMAPHORES_MAX,
			     .semopm = OPERATIONS_MAX,
			     .semume = OPERATIONS_MAX,
			     .semusz = 20,
			     .semvmx = VALUE_MAX,
			     .semaem = VALUE_MAX };
	uint64_t index = 0;
	unsigned highest = 0, semaphores = 0;

	mutex_lock(&sets()->lock);
	for (struct sysv_object *o; (o = radix_next(&sets()->objects, &index)); index++) {
		highest = (unsigned)index;
		semaphores += container_of(o, struct sem_set, object)->count;
	}
	if (command == SEM_INFO) {
		i.semusz = (int)sets()->count;
		i.semaem = (int)semaphores;
	}
	mutex_unlock(&sets()->lock);
	return put_user(i, (struct uptr){ argument }) ? -EFAULT : (long)highest;
}

static long get_all(struct sem_set *s, uint64_t argument)
{
	unsigned short *values = kalloc_array(s->count, sizeof(*values));

	if (!values)
		return -ENOMEM;
	mutex_lock(&s->object.lock);
	for (unsigned i = 0; i < s->count; i++)
		values[i] = (unsigned short)s->semaphores[i].value;
	mutex_unlock(&s->object.lock);
	long result = copy_to_user((struct uptr){ argument }, values, s->count * sizeof(*values));
	kfree(values);
	return result;
}

// A value set by hand forgets what processes would undo.
static void forget_undo(struct sem_set *s, unsigned number)
{
	struct undo *u;

	list_for_each (u, &s->undos, node)
		u->adjust[number] = 0;
}

static long set_all(struct sem_set *s, uint64_t argument)
{
	unsigned short *values = kalloc_array(s->count, sizeof(*values));
	long result = values ? copy_from_user(values, (struct uptr){ argument }, s->count * sizeof(*values)) : -ENOMEM;

	for (unsigned i = 0; !result && i < s->count; i++)
		if (values[i] > VALUE_MAX)
			result = -ERANGE;
	if (!result) {
		mutex_lock(&s->object.lock);
		for (unsigned i = 0; i < s->count; i++) {
			s->semaphores[i].value = values[i];
			s->semaphores[i].pid = current->process->pid;
			forget_undo(s, i);
		}
		s->changed_s = now_s();
		changed(s);
		mutex_unlock(&s->object.lock);
	}
	kfree(values);
	return result;
}

static long one(struct sem_set *s, int number, int command, uint64_t argument)
{
	long result = 0;

	if (number < 0 || number >= (int)s->count)
		return -EINVAL;
	if (command == SETVAL && ((int)argument < 0 || (int)argument > VALUE_MAX))
		return -ERANGE;
	struct semaphore *m = &s->semaphores[number];
	mutex_lock(&s->object.lock);
	switch (command) {
	case GETVAL: result = m->value; break;
	case GETPID: result = m->pid ? pid_shown(m->pid) : 0; break;
	case GETNCNT: result = m->waiting_more; break;
	case GETZCNT: result = m->waiting_zero; break;
	case SETVAL:
		m->value = (int)argument;
		m->pid = current->process->pid;
		forget_undo(s, (unsigned)number);
		s->changed_s = now_s();
		changed(s);
		break;
	}
	mutex_unlock(&s->object.lock);
	return result;
}

static long change(struct sem_set *s, int command, uint64_t argument)
{
	struct semid64_ds d = { 0 };

	int error = sysv_owner(&s->object);
	if (error)
		return error;
	if (command == IPC_SET && get_user(&d, (struct uptr){ argument }))
		return -EFAULT;
	uid_t uid = uid_meant(current->cred, d.sem_perm.uid);
	gid_t gid = gid_meant(current->cred, d.sem_perm.gid);
	if (command == IPC_SET && (uid == ID_NONE || gid == ID_NONE))
		return -EINVAL;
	mutex_lock(&s->object.lock);
	bool gone = s->object.removed;
	if (command == IPC_RMID) {
		s->object.removed = true;
		changed(s);
	} else {
		s->object.uid = uid;
		s->object.gid = gid;
		s->object.mode = d.sem_perm.mode & 0777;
		s->changed_s = now_s();
	}
	mutex_unlock(&s->object.lock);
	if (gone)
		return -EIDRM;
	if (command == IPC_RMID)
		sysv_remove(sets(), &s->object);
	return 0;
}

long sys_semctl(int id, int number, int command, uint64_t argument)
{
	long result;

	command &= ~IPC_64;
	if (command == IPC_INFO || command == SEM_INFO)
		return info(command, argument);
	bool by_index = command == SEM_STAT || command == SEM_STAT_ANY;
	struct sysv_object *o = by_index ? sysv_at(sets(), (unsigned)id) : sysv_find(sets(), id);
	if (!o)
		return -EINVAL;
	if (is_err(o))
		return ptr_err(o);
	struct sem_set *s = container_of(o, struct sem_set, object);
	if (command == IPC_RMID || command == IPC_SET) {
		result = change(s, command, argument);
		sysv_put(sets(), o);
		return result;
	}
	result = command == SEM_STAT_ANY ? 0 : sysv_permission(o, command == SETVAL || command == SETALL ? 0222 : 0444);
	if (!result) {
		switch (command) {
		case IPC_STAT: result = stat_out(s, argument); break;
		case SEM_STAT:
		case SEM_STAT_ANY:
			result = stat_out(s, argument);
			result = result ? result : o->id;
			break;
		case GETALL: result = get_all(s, argument); break;
		case SETALL: result = set_all(s, argument); break;
		case GETVAL:
		case GETPID:
		case GETNCNT:
		case GETZCNT:
		case SETVAL: result = one(s, number, command, argument); break;
		default: result = -EINVAL;
		}
	}
	sysv_put(sets(), o);
	return result;
}
