// SPDX-License-Identifier: Apache-2.0
// What calls.c and message.c share: addresses and descriptors from the program.
#pragma once

#include "socket.h"

#include "lib/string.h"

int net_address_from_user(struct net_address *a, struct uptr from, int size);           // 0, -EINVAL, -EFAULT
int net_address_to_user(const struct net_address *a, struct uptr to, struct uptr size); // *size: room, then true size
int socket_begin(int fd, struct fd_borrow *b, struct socket **s); // 0 (pair with fd_end), -EBADF, -ENOTSOCK
