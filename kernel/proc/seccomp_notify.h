// SPDX-License-Identifier: Apache-2.0
// Calls that another program answers: SECCOMP_RET_USER_NOTIF. Between seccomp.c and seccomp_notify.c.
#pragma once

#include "internal.h"

#include <linux/seccomp.h>

struct seccomp_listener;

// A listener and its file, of which each has a reference; 0 or -ENOMEM and kin.
int seccomp_listener_create(bool killable, struct seccomp_listener **listener, struct file **file);
// The filter goes: nobody asks any more.
void seccomp_listener_drop(struct seccomp_listener *l);
// Asks about the current task's call and waits for the answer. True: carry it out; false: *result is what it returns.
bool seccomp_listener_ask(struct seccomp_listener *l, const struct seccomp_data *data, long *result);
