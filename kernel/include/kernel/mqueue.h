// SPDX-License-Identifier: Apache-2.0
// POSIX message queues, for /proc/sys/fs/mqueue. Owner: kernel/ipc/mqueue/. mq_overview(7).
#pragma once

#include "kernel/types.h"

#define MQUEUE_MESSAGES_HARD_MAX 65536u      // of one queue, CAP_SYS_RESOURCE or not
#define MQUEUE_BYTES_HARD_MAX    (16u << 20) // of one message

struct mqueue_limits { // each read and written as a whole, no lock
	uint32_t queues_max;
	uint32_t msg_max, msg_default;         // messages
	uint32_t msgsize_max, msgsize_default; // bytes
};
extern struct mqueue_limits mqueue_limits;
