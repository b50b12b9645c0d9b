// SPDX-License-Identifier: Apache-2.0
// POSIX message queues: telling one process that a message came to an empty queue. mq_notify(3).
//
// SIGEV_THREAD is glibc's: a thread of its reads a netlink socket; the kernel sends it the program's cookie, whose last byte says
// what happened.

#include "mqueue.h"

#include <asm/siginfo.h>
#include <linux/mqueue.h>

#include "kernel/netlink.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"

static int create_note(const struct sigevent *event, struct netlink_note **out)
{
	char cookie[NOTIFY_COOKIE_LEN];

	if (copy_from_user(cookie, (struct uptr){ (uint64_t)event->sigev_value.sival_ptr }, sizeof(cookie)))
		return -EFAULT;
	return netlink_note_create(event->sigev_signo, cookie, sizeof(cookie), out);
}

int mqueue_notification_create(struct uptr user, struct mqueue_notification *n)
{
	struct sigevent event;
	int error = 0;

	if (get_user(&event, user))
		return -EFAULT;
	*n = (struct mqueue_notification){ .kind = event.sigev_notify,
					   .signal = event.sigev_signo,
					   .value = (uint64_t)event.sigev_value.sival_ptr };
	if (n->kind != SIGEV_NONE && n->kind != SIGEV_SIGNAL && n->kind != SIGEV_THREAD)
		return -EINVAL;
	if (n->kind == SIGEV_SIGNAL && (unsigned)n->signal > SIGNALS_MAX)
		return -EINVAL;
	if (n->kind == SIGEV_THREAD)
		error = create_note(&event, &n->note);
	if (error)
		return error;
	process_get(current->process);
	n->owner = current->process;
	return 0;
}

void mqueue_notification_take_locked(struct mqueue *q, struct mqueue_notification *out)
{
	*out = q->notification;
	q->notification = (struct mqueue_notification){ 0 };
}

static void finish(struct mqueue_notification *n, char last)
{
	if (n->note)
		netlink_note_send(n->note, last);
	n->note = NULL;
	mqueue_notification_drop(n);
}

void mqueue_notification_drop(struct mqueue_notification *n)
{
	if (n->note)
		netlink_note_drop(n->note);
	if (n->owner)
		process_put(n->owner);
}

void mqueue_notification_fire(struct mqueue_notification *n)
{
	siginfo_t info = { .si_signo = n->signal, .si_code = SI_MESGQ };

	if (n->owner && n->kind == SIGEV_SIGNAL && n->signal) {
		info.si_pid = current->process->pid;
		info.si_uid = current->cred->uid;
		info.si_ptr = (void *)n->value;
		(void)signal_send_process(n->owner, n->signal, &info); // gone, or too many are queued: nobody to tell
	}
	finish(n, NOTIFY_WOKENUP);
}

void mqueue_notification_cancel(struct mqueue_notification *n) { finish(n, NOTIFY_REMOVED); }

void mqueue_notification_forget(struct mqueue *q)
{
	struct mqueue_notification n = { 0 };

	spin_lock(&q->lock);
	if (q->notification.owner == current->process)
		mqueue_notification_take_locked(q, &n);
	spin_unlock(&q->lock);
	mqueue_notification_cancel(&n);
}
