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

#define MESSAGE(direction)                                                                                 \
	.file = true, .events = direction, .prepare = uring_message_prepare, .issue = uring_message_issue, \
	.release = uring_message_release

#define NAMES(how) .prepare = how, .release = uring_names_release

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
	[IORING_OP_SEND] = { MESSAGE(EPOLLOUT), .ioprio = true },
	[IORING_OP_RECV] = { MESSAGE(EPOLLIN), .ioprio = true, .selects = true },
	[IORING_OP_SENDMSG] = { MESSAGE(EPOLLOUT), .ioprio = true },
	[IORING_OP_RECVMSG] = { MESSAGE(EPOLLIN), .ioprio = true, .selects = true },
	[IORING_OP_ACCEPT] = { .file = true,
			       .ioprio = true,
			       .events = EPOLLIN,
			       .prepare = uring_accept_prepare,
			       .issue = uring_accept_issue },
	[IORING_OP_CONNECT] = { .file = true,
				.events = EPOLLOUT,
				.prepare = uring_connect_prepare,
				.issue = uring_connect_issue,
				.release = uring_connect_release },
	[IORING_OP_SHUTDOWN] = { .file = true, .prepare = uring_shutdown_prepare, .issue = uring_shutdown_issue },
	[IORING_OP_SOCKET] = { .prepare = uring_socket_prepare, .issue = uring_socket_issue },
	[IORING_OP_OPENAT] = { NAMES(uring_open_prepare), .issue = uring_open_issue },
	[IORING_OP_OPENAT2] = { NAMES(uring_open_prepare), .issue = uring_open_issue },
	[IORING_OP_CLOSE] = { .prepare = uring_close_prepare, .issue = uring_close_issue },
	[IORING_OP_STATX] = { NAMES(uring_statx_prepare), .issue = uring_statx_issue },
	[IORING_OP_UNLINKAT] = { NAMES(uring_unlink_prepare), .issue = uring_unlink_issue },
	[IORING_OP_MKDIRAT] = { NAMES(uring_mkdir_prepare), .issue = uring_mkdir_issue },
	[IORING_OP_RENAMEAT] = { NAMES(uring_two_names_prepare), .issue = uring_rename_issue },
	[IORING_OP_SYMLINKAT] = { NAMES(uring_two_names_prepare), .issue = uring_symlink_issue },
	[IORING_OP_LINKAT] = { NAMES(uring_two_names_prepare), .issue = uring_link_issue },
	[IORING_OP_FALLOCATE] = { .file = true,
				  .worker = true,
				  .prepare = uring_allocate_prepare,
				  .issue = uring_allocate_issue },
	[IORING_OP_SYNC_FILE_RANGE] = { .file = true,
					.worker = true,
					.prepare = uring_sync_range_prepare,
					.issue = uring_sync_range_issue },
	[IORING_OP_FADVISE] = { .file = true, .prepare = uring_advise_prepare, .issue = uring_file_advise_issue },
	[IORING_OP_MADVISE] = { .prepare = uring_advise_prepare, .issue = uring_memory_advise_issue },
	[IORING_OP_SPLICE] = { .file = true,
			       .worker = true,
			       .prepare = uring_splice_prepare,
			       .issue = uring_splice_issue },
	[IORING_OP_TEE] = { .file = true,
			    .worker = true,
			    .prepare = uring_splice_prepare,
			    .issue = uring_splice_issue },
	[IORING_OP_EPOLL_CTL] = { .prepare = uring_epoll_prepare, .issue = uring_epoll_issue },
	[IORING_OP_SETXATTR] = { .prepare = uring_xattr_prepare, .issue = uring_xattr_issue },
	[IORING_OP_FSETXATTR] = { .prepare = uring_xattr_prepare, .issue = uring_xattr_issue },
	[IORING_OP_GETXATTR] = { .prepare = uring_xattr_prepare, .issue = uring_xattr_issue },
	[IORING_OP_FGETXATTR] = { .prepare = uring_xattr_prepare, .issue = uring_xattr_issue },
	[IORING_OP_MSG_RING] = { .file = true, .prepare = uring_tell_ring_prepare, .issue = uring_tell_ring_issue },
	[IORING_OP_FILES_UPDATE] = { .prepare = uring_files_update_prepare, .issue = uring_files_update_issue },
	[IORING_OP_PROVIDE_BUFFERS] = { .prepare = uring_provide_prepare, .issue = uring_provide_issue },
	[IORING_OP_REMOVE_BUFFERS] = { .prepare = uring_remove_buffers_prepare, .issue = uring_remove_buffers_issue },
	[IORING_OP_ASYNC_CANCEL] = { .prepare = uring_cancel_prepare, .issue = uring_cancel_issue },
};

const struct uring_op *uring_op_of(uint8_t opcode)
{
	return opcode < array_count(table) && table[opcode].issue ? &table[opcode] : NULL;
}
