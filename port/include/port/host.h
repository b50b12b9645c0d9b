// SPDX-License-Identifier: Apache-2.0
// The second half of the port contract, for ports that stand on another kernel (PORT_HOST): there memory is mapped by whole
// ranges, tasks are the host's threads, and files of granted trees are the host's descriptors. Portable code that calls
// these does so under `if (PORT_HOST)`, so that other ports need not have them.
//
// PORT_HOST = !PORT_DEMAND_PAGING = PORT_SCHEDULES_TASKS.
#pragma once

#include "port/port.h"

struct stat;
struct iovec;

// ---- tasks ----

// Makes the host thread of a task that port_task_fork() or port_task_set_entry() prepared. It waits at its start for
// port_task_release(). `as` NULL: a thread of the kernel's own process; the current task's address space: a thread beside the
// current one; another one: a new host process with a private copy of the current task's memory, all threads but the caller
// left behind, which backs `as` from then on. The caller holds the current mm's lock so that nothing is mapped meanwhile.
// -EAGAIN, -ENOMEM. Task context.
int port_task_spawn(struct port_task *p, struct port_aspace *as);
// The same for a task of the current address space to which nothing is left to be done: it runs at once.
int port_task_run(struct port_task *p);
// Lets a spawned task run, or (run = false) makes its host thread end at once. Never fails.
void port_task_release(struct port_task *p, bool run);
// The end of the current task: its host thread goes, its kernel stack is not used after the thread's death. The task's scheduler
// reference is dropped by kernel_upcall_task_gone(), called from another task's context or the kernel's process.
_Noreturn void port_task_exit(void);
// Waits until the host threads of tasks that have ended are gone and hands the tasks to kernel_upcall_task_gone(), which otherwise
// happens at some later time. For counting what is left.
void port_task_reap(void);
// The last task in the current address space leaves it: as port_aspace_activate(NULL), but what is mapped may stay as long as the host
// process does, or until its next port_aspace_activate().
void port_aspace_abandon(void);
// A thread in program code enters the kernel soon (kernel_upcall_user_return()), one that sleeps in the host on behalf of the
// kernel returns from it. Atomic.
void port_task_kick(struct port_task *p);
// CPU time of the current task's host thread, as the host splits it.
void port_task_times(uint64_t *user_ns, uint64_t *system_ns);
// The same of the current task's whole host process, dead threads included.
void port_process_times(uint64_t *user_ns, uint64_t *system_ns);
// Page faults of the current task's host process that the host handled itself.
void port_process_faults(uint64_t *minor, uint64_t *major);
// CPU time of p's host thread, exact; 0 when the host does not tell: the thread is in another host process than the current task,
// or gone. Atomic.
uint64_t port_task_time_ns(struct port_task *p);
// CPU time of all threads of the address space's host process, dead ones included, whoever asks; 0 when it is gone or not there
// yet. Atomic.
uint64_t port_aspace_time_ns(struct port_aspace *as);
// The number of the address space's host process; 0 when it is gone or not there yet. Atomic.
int32_t port_aspace_process(const struct port_aspace *as);
void port_task_yield(void);
// Restricts the current task to some CPUs (bit n: the cell's CPU n). 0, -EINVAL.
int port_task_affinity(const uint64_t *mask, unsigned words);
// The cell's CPU the current task runs on at this moment, < port_cpu_count(). Any context.
unsigned port_cpu_now(void);
// As port_lock_wait(), at most until the deadline (port_time_ns() clock); also returns early for no reason.
void port_lock_wait_until(uint32_t *word, uint32_t seen, uint64_t deadline_ns);

// ---- address spaces by whole ranges ----
//
// Private anonymous memory and files of the host are mapped with these; pages of memory objects that live in the kernel's
// frames (tmpfs, shared anonymous memory) with port_aspace_set_page() and kin, which keep a table of their own.
// An address space can be changed only by a task that runs in it. On one that is not active yet (exec builds it) or no longer
// (its process is gone) map, move, protect and advise do nothing and succeed; unmap only takes pages out of the table.

struct port_backing {
	int file;        // host descriptor, or -1: anonymous memory
	uint64_t offset; // in the file, page aligned
	bool shared;     // stores reach the file
};
// Maps [start, end), which nothing overlaps; prot: PORT_PROT_*. -ENOMEM, -EACCES, -ENODEV, ...
int port_aspace_map(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, const struct port_backing *b);
// Moves mappings made by port_aspace_map(), with their contents; [to, to + size) is free. For growing in place, map the rest.
int port_aspace_move(struct port_aspace *as, uint64_t from, uint64_t to, uint64_t size);
// madvise(2) with Linux's numbers, on ranges made by port_aspace_map() only; MADV_DONTFORK and MADV_DOFORK on any range, with holes.
int port_aspace_advise(struct port_aspace *as, uint64_t start, uint64_t end, int advice);
// mincore(2): one byte a page.
int port_aspace_resident(struct port_aspace *as, uint64_t start, uint64_t end, uint8_t *vector);
// msync(2) of shared file mappings.
int port_aspace_sync(struct port_aspace *as, uint64_t start, uint64_t end, int flags);
// Does the current task run in `as`?
bool port_aspace_is_current(const struct port_aspace *as);
// Private pages of a mapping of frames: port_aspace_set_page() with this bit maps the frame copy-on-write. struct port_pte shows the
// bit and port_aspace_protect() keeps it, and the copy: the kernel never sets such a page again while it is present.
#define PORT_PROT_PRIVATE 0x80u
// The program maps over a page that kernel_upcall_code_page() gave: the port gives it up and unmaps it. The current address space; its
// mm.lock is held for writing, kernel_upcall_code_change() may be called all the same. -EAGAIN, -ENOMEM: the page stays.
int port_code_page_leave(struct port_aspace *as, uint64_t va);
// membarrier(2), as the host has it.
int port_barrier(int command, unsigned flags);

// ---- the host's descriptors ----
//
// Numbers are valid in every process of the cell. Addresses in iovecs are the kernel's, or the program's after the caller has
// checked that they lie below port_user_end(); a bad one is -EFAULT. Calls that wait return -EINTR when the task is kicked
// (port_task_kick()) or has task->work; the caller looks why. Task context; they sleep.

// offset -1: at the stream's position (pipes, sockets, terminals). flags: RWF_* of preadv2(2).
long port_file_read(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags);
long port_file_write(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags);
int port_file_stat(int fd, struct stat *out); // fstat(2), the UAPI structure of <asm/stat.h>
int port_file_sync(int fd, bool data_only);
int port_file_truncate(int fd, uint64_t size);
int port_file_allocate(int fd, int mode, int64_t offset, int64_t size);
int64_t port_file_seek(int fd, int64_t offset, int whence);                                 // SEEK_DATA, SEEK_HOLE only
long port_file_copy(int from, int64_t from_offset, int to, int64_t to_offset, size_t size); // copy_file_range(2)
void port_file_close(int fd);

// Windows: parts of files that the current address space has mapped for the kernel, so that small reads of what the host has in its page
// cache need no call. For files of file systems whose mappings show what reads show. A file goes by a number that its user has
// chosen, not 0 and never used for another. An address space begins without windows.
//
// Copies from a window. False: there is none, or the host must be asked; the bytes at `to` may have been written to.
bool port_window_read(uint64_t file, uint64_t offset, void *to, size_t size);
// After a read at `offset` that port_window_read() did not do and the host did, begun at port_window_clock(): is a window wanted?
bool port_window_wanted(uint64_t file, uint64_t offset, uint64_t started);
uint64_t port_window_clock(void);
// Opens one for what is at `offset`, or tells an open one the file's size. descriptor: open for reading only. It may fail.
void port_window_open(uint64_t file, int descriptor, uint64_t offset, uint64_t size);
void port_window_close(uint64_t file); // in the current address space

// Waits until one of the descriptors is ready, the deadline passes, or the task is kicked. Count of ready ones, 0, -EINTR.
struct pollfd;
int port_file_poll(struct pollfd *fds, unsigned count, uint64_t deadline_ns);
// One message on a SOCK_SEQPACKET socket. Descriptors that came with it go to fds (at most *fd_count, in and out); -EMFILE: the message
// is there, but there was no room for its descriptors.
long port_message_send(int fd, const struct iovec *v, unsigned count);
long port_message_receive(int fd, const struct iovec *v, unsigned count, int *fds, unsigned *fd_count);
// recvmsg(2) and an empty sendmsg(2) on a non-blocking stream socket, for what reading and writing do not do: MSG_PEEK, MSG_TRUNC; the
// socket's pending error. They never wait.
long port_socket_receive(int fd, const struct iovec *v, unsigned count, unsigned flags);
int port_socket_error(int fd); // takes it: 0 or -errno

// What the launcher handed over. Streams by enum hosted_stream (abi/hosted.h); -1 = none.
int port_host_stream(unsigned stream);
int port_host_channel(unsigned index); // sockets to the broker; -1 past the last
int port_host_events(void);            // the socket of the broker's unasked messages; -1
