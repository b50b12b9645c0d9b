// SPDX-License-Identifier: Apache-2.0
// Which login a process descends from: /proc/PID/loginuid, written by pam_loginuid(8) once a login, and /proc/PID/sessionid.
#include "kernel/errno.h"
#include "lib/string.h"
#include "proc.h"

#include <linux/capability.h>

static uint32_t last_session; // atomic

int proc_login_uid_show(struct seq *s, struct pseudo *n)
{
	seq_printf(s, "%u", proc_task(n)->process->login_uid);
	return 0;
}

int proc_login_session_show(struct seq *s, struct pseudo *n)
{
	seq_printf(s, "%u", proc_task(n)->process->login_session);
	return 0;
}

// Only a process itself, and once: who would be another needs CAP_AUDIT_CONTROL.
ssize_t proc_login_uid_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	struct process *p = proc_task(n)->process;
	char number[16];
	uint64_t uid;

	(void)f;
	if (p != current->process)
		return -EPERM;
	string_copy(number, data, sizeof(number));
	if (number[0] && number[strlen(number) - 1] == '\n')
		number[strlen(number) - 1] = '\0';
	if (!string_to_u64(number, 10, &uid) || uid > NO_LOGIN)
		return -EINVAL;
	if (p->login_uid != NO_LOGIN && !cred_capable(current->cred, CAP_AUDIT_CONTROL))
		return -EPERM;
	p->login_uid = (uint32_t)uid;
	p->login_session = uid == NO_LOGIN ? NO_LOGIN : __atomic_add_fetch(&last_session, 1, __ATOMIC_RELAXED);
	return (ssize_t)size;
}
