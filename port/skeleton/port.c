// SPDX-License-Identifier: Apache-2.0
// Every function of the port contract as a stub: the start of a new port, and the proof that the contract is complete. What
// can fail says -ENOSYS or "none"; what cannot ends the machine, which here is an endless loop. Compiled, never run.
#include "kernel/upcall.h"
#include "port/host.h"
#include "port/inline.h"
#include "port/port.h"

#include <asm/errno.h>

struct task *skeleton_current;

_Noreturn static void missing(void) { port_exit(0); }

// ---- CPUs ----

unsigned port_cpu_count(void) { return 1; }
void port_cpu_kick(unsigned cpu) { (void)cpu; }
void port_cpu_idle(void) {}
void port_preempt_point(void) {}
void port_lock_wait(uint32_t *word, uint32_t seen) { (void)word, (void)seen; }
void port_lock_wake(uint32_t *word) { (void)word; }

// ---- tasks ----

int port_task_create(struct task *t, struct port_task **out)
{
	(void)t;
	*out = NULL;
	return -ENOSYS;
}

void port_task_adopt(struct task *t, struct port_task **out)
{
	(void)t;
	*out = NULL;
	missing();
}

void port_task_destroy(struct port_task *p) { (void)p; }
void port_task_set_entry(struct port_task *p, void (*fn)(void *), void *arg) { (void)p, (void)fn, (void)arg; }
void port_task_fork(struct port_task *child, uint64_t sp) { (void)child, (void)sp; }

struct task *port_task_switch(struct task *prev, struct task *next, struct port_aspace *as)
{
	(void)prev, (void)next, (void)as;
	missing();
}

struct user_regs *port_task_regs(struct port_task *p)
{
	(void)p;
	missing();
}

void port_task_enter_user(void) { missing(); }
uint64_t port_task_fs_base(struct port_task *p) { return (void)p, 0; }
uint64_t port_task_gs_base(struct port_task *p) { return (void)p, 0; }
void port_task_set_fs_base(struct port_task *p, uint64_t base) { (void)p, (void)base; }
void port_task_set_gs_base(struct port_task *p, uint64_t base) { (void)p, (void)base; }

size_t port_xstate_size_bytes(void) { return 512 + 64; }
uint64_t port_xstate_features(void) { return 3; }
void port_xstate_get(struct port_task *p, void *buffer) { (void)p, (void)buffer; }
int port_xstate_set(struct port_task *p, const void *buffer) { return (void)p, (void)buffer, -ENOSYS; }
void port_xstate_reset(struct port_task *p) { (void)p; }

// ---- address spaces ----

uint64_t port_user_end(void) { return UINT64_C(1) << 47; }

int port_aspace_create(struct port_aspace **out)
{
	*out = NULL;
	return -ENOSYS;
}

void port_aspace_destroy(struct port_aspace *as) { (void)as; }
void port_aspace_activate(struct port_aspace *as) { (void)as; }

void port_aspace_get_page(struct port_aspace *as, uint64_t va, struct port_pte *out)
{
	(void)as, (void)va;
	*out = (struct port_pte){ 0 };
}

int port_aspace_lock(struct port_aspace *as, uint64_t va) { return (void)as, (void)va, -ENOSYS; }
void port_aspace_unlock(struct port_aspace *as, uint64_t va) { (void)as, (void)va; }
void port_aspace_set_page(struct port_aspace *as, uint64_t va, paddr_t frame, unsigned prot)
{
	(void)as, (void)va, (void)frame, (void)prot;
}

void port_aspace_unmap(struct port_aspace *as, uint64_t start, uint64_t end,
		       void (*gone)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	(void)as, (void)start, (void)end, (void)gone, (void)context;
}

void port_aspace_protect(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, bool limit_write,
			 void (*dirty)(void *context, uint64_t va, paddr_t frame), void *context)
{
	(void)as, (void)start, (void)end, (void)prot, (void)limit_write, (void)dirty, (void)context;
}

int port_aspace_copy(struct port_aspace *to, struct port_aspace *from, uint64_t start, uint64_t end, bool cow,
		     void (*shared)(void *context, uint64_t va, const struct port_pte *pte), void *context)
{
	(void)to, (void)from, (void)start, (void)end, (void)cow, (void)shared, (void)context;
	return -ENOSYS;
}

size_t port_aspace_table_bytes(struct port_aspace *as) { return (void)as, 0; }

// ---- user memory ----

size_t port_copy_in(void *to, uint64_t user_from, size_t size) { return (void)to, (void)user_from, size; }
size_t port_copy_out(uint64_t user_to, const void *from, size_t size) { return (void)user_to, (void)from, size; }
bool port_stable_code(void) { return false; }
size_t port_clear_out(uint64_t user_to, size_t size) { return (void)user_to, size; }
long port_string_in(char *to, uint64_t user_from, size_t size)
{
	return (void)to, (void)user_from, (void)size, -EFAULT;
}
int port_user_load32(uint64_t user, uint32_t *seen) { return (void)user, (void)seen, -EFAULT; }
int port_user_cmpxchg32(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen)
{
	return (void)user, (void)old, (void)new, (void)seen, -EFAULT;
}
int port_user_load32_atomic(uint64_t user, uint32_t *seen) { return (void)user, (void)seen, -EFAULT; }
int port_user_cmpxchg32_atomic(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen)
{
	return (void)user, (void)old, (void)new, (void)seen, -EFAULT;
}

// ---- physical memory ----

void *port_frame_address(paddr_t frame) { return (void *)(uintptr_t)frame; }
paddr_t port_frame_of(const void *kernel_address) { return (uintptr_t)kernel_address; }
void port_zero_page(void *page) { (void)page; }

void port_page_expect_device(void *page) { (void)page; }
void port_copy_page(void *to, const void *from) { (void)to, (void)from; }
size_t port_held_pages(void) { return 0; }
unsigned port_memory_ranges(struct port_memory_range *out, unsigned max) { return (void)out, (void)max, 0; }

// ---- time and randomness ----

uint64_t port_time_ns(void) { return 0; }
void port_timer_set(uint64_t deadline_ns) { (void)deadline_ns; }
bool port_time_tsc(uint64_t *tsc_base, uint32_t *mult, uint32_t *shift)
{
	return (void)tsc_base, (void)mult, (void)shift, false;
}
uint64_t port_tsc_hz(void) { return 0; }
bool port_random64(uint64_t *out) { return (void)out, false; }

// ---- end, and diagnostics ----

void port_log_write(const char *text, size_t size) { (void)text, (void)size; }

void port_exit(unsigned status)
{
	(void)status;
	for (;;)
		port_cpu_relax();
}

bool port_panic_enter(void) { return true; }
unsigned port_backtrace(uintptr_t *out, unsigned max) { return (void)out, (void)max, 0; }
void port_panic_registers(void) {}
uintptr_t port_image_slide(void) { return 0; }
const char *port_symbol(uintptr_t address, size_t *offset) { return (void)address, (void)offset, NULL; }
int port_cpuinfo(unsigned cpu, char *buffer, size_t size)
{
	(void)cpu;
	if (size)
		buffer[0] = 0;
	return 0;
}
void port_cpu_topology(unsigned cpu, struct port_cpu_topology *out)
{
	*out = (struct port_cpu_topology){ .core_id = cpu, .threads_per_core = 1, .cores_per_package = 1 };
}
unsigned port_cpu_caches(struct port_cpu_cache *out, unsigned max) { return (void)out, (void)max, 0; }
uint64_t port_hwcap(void) { return 0; }
uint64_t port_hwcap2(void) { return 0; }

// ---- port/host.h ----

int port_task_spawn(struct port_task *p, struct port_aspace *as) { return (void)p, (void)as, -ENOSYS; }
void port_aspace_abandon(void) {}
int port_task_run(struct port_task *p) { return (void)p, -ENOSYS; }
void port_task_release(struct port_task *p, bool run) { (void)p, (void)run; }
void port_task_exit(void) { missing(); }
void port_task_kick(struct port_task *p) { (void)p; }
void port_task_times(uint64_t *user_ns, uint64_t *system_ns) { *user_ns = *system_ns = 0; }
uint64_t port_aspace_time_ns(struct port_aspace *as) { return (void)as, 0; }
int32_t port_aspace_process(const struct port_aspace *as) { return (void)as, 0; }
void port_task_yield(void) {}
void port_task_reap(void) {}
void port_process_faults(uint64_t *minor, uint64_t *major) { *minor = *major = 0; }
int port_task_affinity(const uint64_t *mask, unsigned words) { return (void)mask, (void)words, -EINVAL; }
void port_lock_wait_until(uint32_t *word, uint32_t seen, uint64_t deadline_ns)
{
	(void)word, (void)seen, (void)deadline_ns;
}

int port_aspace_map(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, const struct port_backing *b)
{
	return (void)as, (void)start, (void)end, (void)prot, (void)b, -ENOSYS;
}
int port_aspace_move(struct port_aspace *as, uint64_t from, uint64_t to, uint64_t size)
{
	return (void)as, (void)from, (void)to, (void)size, -ENOSYS;
}
int port_aspace_advise(struct port_aspace *as, uint64_t start, uint64_t end, int advice)
{
	return (void)as, (void)start, (void)end, (void)advice, -ENOSYS;
}
int port_aspace_resident(struct port_aspace *as, uint64_t start, uint64_t end, uint8_t *vector)
{
	return (void)as, (void)start, (void)end, (void)vector, -ENOSYS;
}
int port_aspace_sync(struct port_aspace *as, uint64_t start, uint64_t end, int flags)
{
	return (void)as, (void)start, (void)end, (void)flags, -ENOSYS;
}
bool port_aspace_is_current(const struct port_aspace *as) { return (void)as, false; }
int port_code_page_leave(struct port_aspace *as, uint64_t va) { return (void)as, (void)va, -ENOMEM; }

int port_barrier(int command, unsigned flags) { return (void)command, (void)flags, -ENOSYS; }

long port_file_read(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	return (void)fd, (void)v, (void)count, (void)offset, (void)flags, -ENOSYS;
}
long port_file_write(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	return (void)fd, (void)v, (void)count, (void)offset, (void)flags, -ENOSYS;
}
int port_file_stat(int fd, struct stat *out) { return (void)fd, (void)out, -ENOSYS; }
int port_file_sync(int fd, bool data_only) { return (void)fd, (void)data_only, -ENOSYS; }
int port_file_truncate(int fd, uint64_t size) { return (void)fd, (void)size, -ENOSYS; }
int port_file_allocate(int fd, int mode, int64_t offset, int64_t size)
{
	return (void)fd, (void)mode, (void)offset, (void)size, -ENOSYS;
}
int64_t port_file_seek(int fd, int64_t offset, int whence) { return (void)fd, (void)offset, (void)whence, -ENOSYS; }
long port_file_copy(int from, int64_t from_offset, int to, int64_t to_offset, size_t size)
{
	return (void)from, (void)from_offset, (void)to, (void)to_offset, (void)size, -ENOSYS;
}
void port_file_close(int fd) { (void)fd; }
bool port_window_read(uint64_t file, uint64_t offset, void *to, size_t size)
{
	return (void)file, (void)offset, (void)to, (void)size, false;
}
bool port_window_wanted(uint64_t file, uint64_t offset, uint64_t started)
{
	return (void)file, (void)offset, (void)started, false;
}
uint64_t port_window_clock(void) { return 0; }
void port_window_open(uint64_t file, int descriptor, uint64_t offset, uint64_t size)
{
	(void)file, (void)descriptor, (void)offset, (void)size;
}
void port_window_close(uint64_t file) { (void)file; }
int port_file_poll(struct pollfd *fds, unsigned count, uint64_t deadline_ns)
{
	return (void)fds, (void)count, (void)deadline_ns, -ENOSYS;
}
long port_message_send(int fd, const struct iovec *v, unsigned count)
{
	return (void)fd, (void)v, (void)count, -ENOSYS;
}
long port_message_receive(int fd, const struct iovec *v, unsigned count, int *fds, unsigned *fd_count)
{
	return (void)fd, (void)v, (void)count, (void)fds, (void)fd_count, -ENOSYS;
}
long port_socket_receive(int fd, const struct iovec *v, unsigned count, unsigned flags)
{
	return (void)fd, (void)v, (void)count, (void)flags, -ENOSYS;
}
int port_socket_error(int fd) { return (void)fd, -ENOSYS; }

int port_host_stream(unsigned stream) { return (void)stream, -1; }
int port_host_channel(unsigned index) { return (void)index, -1; }
int port_host_events(void) { return -1; }
