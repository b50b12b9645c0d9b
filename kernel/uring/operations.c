// SPDX-License-Identifier: Apache-2.0
// The table of operations. What it does not have IORING_REGISTER_PROBE does not tell.
#include "internal.h"

static int nop(struct uring_request *r, bool wait)
{
	(void)r, (void)wait;
	return 0;
}

#define TRANSFER(direction)                                                                   \
	.file = true, .ioprio = true, .events = direction, .prepare = uring_transfer_prepare, \
	.issue = uring_transfer_issue, .release = uring_transfer_release

static const struct uring_op table[IORING_OP_LAST] = {
	[IORING_OP_NOP] = { .issue = nop },
	[IORING_OP_READV] = { TRANSFER(EPOLLIN), .selects = true },
	[IORING_OP_WRITEV] = { TRANSFER(EPOLLOUT) },
	[IORING_OP_READ_FIXED] = { TRANSFER(EPOLLIN) },
	[IORING_OP_WRITE_FIXED] = { TRANSFER(EPOLLOUT) },
	[IORING_OP_READ] = { TRANSFER(EPOLLIN), .selects = true },
	[IORING_OP_WRITE] = { TRANSFER(EPOLLOUT) },
	[IORING_OP_FSYNC] = { .file = true, .worker = true, .prepare = uring_sync_prepare, .issue = uring_sync_issue },
	[IORING_OP_POLL_ADD] = { .file = true, .prepare = uring_poll_prepare, .issue = uring_poll_issue },
	[IORING_OP_POLL_REMOVE] = { .prepare = uring_poll_remove_prepare, .issue = uring_poll_remove_issue },
	[IORING_OP_TIMEOUT] = { .timeout = true, .prepare = uring_timeout_prepare, .issue = uring_timeout_issue },
	[IORING_OP_TIMEOUT_REMOVE] = { .prepare = uring_timeout_remove_prepare, .issue = uring_timeout_remove_issue },
	[IORING_OP_LINK_TIMEOUT] = { .timeout = true, .prepare = uring_limit_prepare, .issue = uring_limit_issue },
	[IORING_OP_FILES_UPDATE] = { .prepare = uring_files_update_prepare, .issue = uring_files_update_issue },
	[IORING_OP_PROVIDE_BUFFERS] = { .prepare = uring_provide_prepare, .issue = uring_provide_issue },
	[IORING_OP_REMOVE_BUFFERS] = { .prepare = uring_remove_buffers_prepare, .issue = uring_remove_buffers_issue },
	[IORING_OP_ASYNC_CANCEL] = { .prepare = uring_cancel_prepare, .issue = uring_cancel_issue },
};

const struct uring_op *uring_op_of(uint8_t opcode)
{
	return opcode < array_count(table) && table[opcode].issue ? &table[opcode] : NULL;
}
