// SPDX-License-Identifier: Apache-2.0
// System V message queues (msgget(2), msgop(2), msgctl(2)).
#include <linux/msg.h>

#include "../namespace.h"
#include "ids.h"
#include "kernel/errno.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "kernel/uaccess.h"
#include "lib/string.h"

#define QUEUES_MAX 32000u

struct message {
	struct list node;
	int64_t type;
	size_t size;
	char text[];
};

struct queue {
	struct sysv_object object; // its lock guards what follows
	struct list messages;
	struct waitq wait;   // senders and receivers
	uint64_t generation; // atomic
	uint64_t bytes, limit_bytes, count;
	pid_t sender, receiver;
	int64_t sent_s, received_s, changed_s;
};

static void queue_destroy(struct sysv_object *o)
{
	struct queue *q = container_of(o, struct queue, object);
	struct message *m, *next;

	list_for_each_safe (m, next, &q->messages, node)
		kfree(m);
	kfree(q);
}

void msg_table_init(struct sysv_table *t) { sysv_table_init(t, QUEUES_MAX, queue_destroy); }

static struct sysv_table *queues(void) { return &ipc_mine()->queues; }

static int64_t now_s(void) { return clock_realtime_ns() / NSEC_PER_SEC; }

static void changed(struct queue *q)
{
	__atomic_fetch_add(&q->generation, 1, __ATOMIC_SEQ_CST);
	waitq_wake_all(&q->wait);
}

static int check_nothing(struct sysv_object *o, void *context)
{
	(void)o, (void)context;
	return 0;
}

static struct sysv_object *create(void *context)
{
	struct queue *q = kalloc(sizeof(*q));

	(void)context;
	if (!q)
		return err_ptr(-ENOMEM);
	list_init(&q->messages);
	waitq_init(&q->wait);
	q->limit_bytes = MSGMNB;
	q->changed_s = now_s();
	return &q->object;
}

long sys_msgget(int key, int flags) { return sysv_get(queues(), key, flags, check_nothing, create, NULL); }

// Waits for a change of the queue since `seen`. 0, -ERESTARTNOHAND (signal(7): never restarted after a handler).
static int wait_change(struct queue *q, uint64_t seen)
{
	return wait_event_interruptible(&q->wait, __atomic_load_n(&q->generation, __ATOMIC_SEQ_CST) != seen)
		       ? -ERESTARTNOHAND
		       : 0;
}

static int enqueue(struct queue *q, struct message *m, int flags)
{
	for (;;) {
		mutex_lock(&q->object.lock);
		int error = q->object.removed ? -EIDRM : sysv_permission(&q->object, 0222);
		bool fits = m->size + q->bytes <= q->limit_bytes && q->count + 1 <= q->limit_bytes;
		if (!error && fits) {
			list_add_tail(&q->messages, &m->node);
			q->bytes += m->size;
			q->count++;
			q->sender = current->process->pid;
			q->sent_s = now_s();
			changed(q);
		}
		uint64_t seen = q->generation;
		mutex_unlock(&q->object.lock);
		if (error || fits)
			return error;
		if (flags & IPC_NOWAIT)
			return -EAGAIN;
		error = wait_change(q, seen);
		if (error)
			return error;
	}
}

long sys_msgsnd(int id, struct uptr message, size_t size, int flags)
{
	int64_t type;

	if (size > MSGMAX || id < 0)
		return -EINVAL;
	if (get_user(&type, message))
		return -EFAULT;
	if (type < 1)
		return -EINVAL;
	struct message *m = kalloc(sizeof(*m) + size);
	if (!m)
		return -ENOMEM;
	m->type = type;
	m->size = size;
	long result = copy_from_user(m->text, uptr_add(message, sizeof(type)), size);
	if (!result) {
		struct sysv_object *o = sysv_find(queues(), id);
		result = is_err(o) ? ptr_err(o) : enqueue(container_of(o, struct queue, object), m, flags);
		if (!is_err(o))
			sysv_put(queues(), o);
	}
	if (result)
		kfree(m);
	return result;
}

static struct message *choose(struct queue *q, int64_t type, int flags)
{
	struct message *m, *best = NULL;
	int64_t number = 0;

	list_for_each (m, &q->messages, node) {
		if (flags & MSG_COPY) {
			if (number++ == type)
				return m;
		} else if (type == 0) {
			return m;
		} else if (type > 0) {
			if ((m->type == type) != !!(flags & MSG_EXCEPT))
				return m;
		} else if (m->type <= -type && (!best || m->type < best->type)) {
			best = m;
		}
	}
	return best;
}

// Takes a fitting message out of the queue (or copies it, MSG_COPY): err_ptr.
static struct message *dequeue(struct queue *q, size_t size, int64_t type, int flags)
{
	for (;;) {
		mutex_lock(&q->object.lock);
		int error = q->object.removed ? -EIDRM : sysv_permission(&q->object, 0444);
		struct message *m = error ? NULL : choose(q, type, flags);
		uint64_t seen = q->generation;
		if (m && m->size > size && !(flags & MSG_NOERROR))
			error = -E2BIG;
		if (m && !error && flags & MSG_COPY) {
			struct message *copy = kalloc(sizeof(*m) + m->size);
			if (copy)
				memcpy(copy, m, sizeof(*m) + m->size);
			m = copy;
			error = copy ? 0 : -ENOMEM;
		} else if (m && !error) {
			list_remove(&m->node);
			q->bytes -= m->size;
			q->count--;
			q->receiver = current->process->pid;
			q->received_s = now_s();
			changed(q);
		}
		mutex_unlock(&q->object.lock);
		if (error)
			return err_ptr(error);
		if (m)
			return m;
		if (flags & IPC_NOWAIT)
			return err_ptr(-ENOMSG);
		error = wait_change(q, seen);
		if (error)
			return err_ptr(error);
	}
}

long sys_msgrcv(int id, struct uptr message, size_t size, int64_t type, int flags)
{
	if (id < 0 || (int64_t)size < 0)
		return -EINVAL;
	if (flags & MSG_COPY && (flags & MSG_EXCEPT || !(flags & IPC_NOWAIT)))
		return -EINVAL;
	struct sysv_object *o = sysv_find(queues(), id);
	if (is_err(o))
		return ptr_err(o);
	struct message *m = dequeue(container_of(o, struct queue, object), size, type, flags);
	sysv_put(queues(), o);
	if (is_err(m))
		return ptr_err(m);
	size = min(size, m->size);
	long result = (long)size;
	if (put_user(m->type, message) || copy_to_user(uptr_add(message, sizeof(m->type)), m->text, size))
		result = -EFAULT;
	kfree(m);
	return result;
}

static long stat_out(struct queue *q, uint64_t buffer)
{
	mutex_lock(&q->object.lock);
	struct msqid64_ds d = {
		.msg_perm = { .key = q->object.key,
			      .uid = uid_shown(current->cred, q->object.uid),
			      .gid = gid_shown(current->cred, q->object.gid),
			      .cuid = uid_shown(current->cred, q->object.cuid),
			      .cgid = gid_shown(current->cred, q->object.cgid),
			      .mode = q->object.mode,
			      .seq = (unsigned short)(q->object.id / (int)SYSV_INDEX_MAX) },
		.msg_stime = q->sent_s,
		.msg_rtime = q->received_s,
		.msg_ctime = q->changed_s,
		.msg_cbytes = q->bytes,
		.msg_qnum = q->count,
		.msg_qbytes = q->limit_bytes,
		.msg_lspid = q->sender ? pid_shown(q->sender) : 0,
		.msg_lrpid = q->receiver ? pid_shown(q->receiver) : 0,
	};
	mutex_unlock(&q->object.lock);
	return put_user(d, (struct uptr){ buffer });
}

static long info(int command, uint64_t buffer)
{
	struct msginfo i = { .msgmax = MSGMAX, .msgmnb = MSGMNB, .msgmni = QUEUES_MAX, .msgssz = 16, .msgseg = 0xffff };
	uint64_t index = 0;
	unsigned highest = 0;

	mutex_lock(&queues()->lock);
	for (; radix_next(&queues()->objects, &index); index++)
		highest = (unsigned)index;
	if (command == MSG_INFO)
		i.msgpool = (int)queues()->count;
	mutex_unlock(&queues()->lock);
	return put_user(i, (struct uptr){ buffer }) ? -EFAULT : (long)highest;
}

static long change(struct queue *q, int command, uint64_t buffer)
{
	struct msqid64_ds d = { 0 };

	int error = sysv_owner(&q->object);
	if (error)
		return error;
	if (command == IPC_SET && get_user(&d, (struct uptr){ buffer }))
		return -EFAULT;
	if (command == IPC_SET && d.msg_qbytes > MSGMNB && !cred_capable(current->cred, 24 /* CAP_SYS_RESOURCE */))
		return -EPERM;
	uid_t uid = uid_meant(current->cred, d.msg_perm.uid);
	gid_t gid = gid_meant(current->cred, d.msg_perm.gid);
	if (command == IPC_SET && (uid == ID_NONE || gid == ID_NONE))
		return -EINVAL;
	mutex_lock(&q->object.lock);
	bool gone = q->object.removed;
	if (command == IPC_RMID) {
		q->object.removed = true;
	} else {
		q->object.uid = uid;
		q->object.gid = gid;
		q->object.mode = d.msg_perm.mode & 0777;
		q->limit_bytes = d.msg_qbytes;
		q->changed_s = now_s();
	}
	changed(q);
	mutex_unlock(&q->object.lock);
	if (gone)
		return -EIDRM;
	if (command == IPC_RMID)
		sysv_remove(queues(), &q->object);
	return 0;
}

long sys_msgctl(int id, int command, struct uptr buffer)
{
	long result;

	command &= ~IPC_64;
	if (command == IPC_INFO || command == MSG_INFO)
		return info(command, buffer.address);
	bool by_index = command == MSG_STAT || command == MSG_STAT_ANY;
	struct sysv_object *o = by_index ? sysv_at(queues(), (unsigned)id) : sysv_find(queues(), id);
	if (!o)
		return -EINVAL;
	if (is_err(o))
		return ptr_err(o);
	struct queue *q = container_of(o, struct queue, object);
	if (command == IPC_RMID || command == IPC_SET) {
		result = change(q, command, buffer.address);
	} else if (command == IPC_STAT || by_index) {
		result = command == MSG_STAT_ANY ? 0 : sysv_permission(o, 0444);
		if (!result)
			result = stat_out(q, buffer.address);
		if (!result && by_index)
			result = o->id;
	} else {
		result = -EINVAL;
	}
	sysv_put(queues(), o);
	return result;
}
