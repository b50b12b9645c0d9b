// SPDX-License-Identifier: Apache-2.0
// What others send to netlink sockets of programs. Owner: kernel/net/netlink.c.
#pragma once

#include "kernel/types.h"

// One message, ready to be sent to the socket it was made for: glibc's helper thread of mq_notify(3) waits for it.
struct netlink_note;

// 0, -EBADF, -ENOTSOCK, -EINVAL (no netlink socket), -EAGAIN (its queue is full), -ENOMEM. May sleep.
int must_check netlink_note_create(int fd, const void *data, size_t size, struct netlink_note **out);
// Sends, with `last` in the place of its last byte. Consumes the note; no spinlock held.
void netlink_note_send(struct netlink_note *n, char last);
void netlink_note_drop(struct netlink_note *n);
