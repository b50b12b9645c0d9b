// SPDX-License-Identifier: Apache-2.0
// random_calls SEED SECONDS: system calls with random arguments, plausible and wild ones. For cells only: it sets clocks and mounts.
//
// One child after the other, each with one to three threads, calls until its time is over; the first process kills it, and at the end
// removes what outlives processes (System V objects, message queues), so that what the kernel still has is a leak. That no child resists
// is the only thing checked here: the kernel's leak report and its sanitizer judge the rest. A seed gives the same calls again, as far as
// addresses and the order of threads allow.
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a)   (sizeof(a) / sizeof(*(a)))
#define POOL_BYTES 65536u
#define CHILD_MS   700
#define ENDS_MS    60000 // a child that was killed: of a kernel under software emulation on a machine with other work

static const char *const paths[] = {
	"/tmp/a",
	"/tmp/d",
	"/tmp/d/x",
	"/tmp/link",
	"/tmp/fifo",
	"/",
	"/tmp",
	"..",
	"",
	"/work/a",
	"/work/d",
	"/work/link",
	"/work",
	"/proc/self/maps",
	"/proc/self/fd",
	"/proc/self/fd/3",
	"/proc/self/mem",
	"/proc/self/task",
	"/proc/self/status",
	"/proc/1/status",
	"/dev/null",
	"/dev/zero",
	"/dev/ptmx",
	"/dev/pts/0",
	"/dev/shm/x",
	"/etc/passwd",
	"/sys/devices/system/cpu",
	"/proc/sys/kernel/hostname",
	"queue",
	"tmpfs",
};

// What the kernel has most code for.
static const int hot[] = {
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_pread64,
	SYS_pwrite64,
	SYS_preadv2,
	SYS_pwritev2,
	SYS_openat,
	SYS_openat2,
	SYS_sendmsg,
	SYS_recvmsg,
	SYS_sendto,
	SYS_recvfrom,
	SYS_sendmmsg,
	SYS_recvmmsg,
	SYS_socket,
	SYS_socketpair,
	SYS_bind,
	SYS_listen,
	SYS_connect,
	SYS_accept4,
	SYS_getsockopt,
	SYS_setsockopt,
	SYS_shutdown,
	SYS_splice,
	SYS_tee,
	SYS_vmsplice,
	SYS_sendfile,
	SYS_copy_file_range,
	SYS_getdents64,
	SYS_ioctl,
	SYS_fcntl,
	SYS_poll,
	SYS_ppoll,
	SYS_pselect6,
	SYS_epoll_ctl,
	SYS_epoll_wait,
	SYS_mmap,
	SYS_mprotect,
	SYS_madvise,
	SYS_mbind,
	SYS_mincore,
	SYS_mlock,
	SYS_msync,
	SYS_remap_file_pages,
	SYS_futex,
	SYS_semget,
	SYS_semop,
	SYS_semctl,
	SYS_msgget,
	SYS_msgsnd,
	SYS_msgrcv,
	SYS_msgctl,
	SYS_shmget,
	SYS_shmat,
	SYS_shmctl,
	SYS_shmdt,
	SYS_mq_open,
	SYS_mq_unlink,
	SYS_mq_timedsend,
	SYS_mq_timedreceive,
	SYS_mq_notify,
	SYS_mq_getsetattr,
	SYS_setxattr,
	SYS_getxattr,
	SYS_listxattr,
	SYS_fsetxattr,
	SYS_statx,
	SYS_renameat2,
	SYS_linkat,
	SYS_symlinkat,
	SYS_unlinkat,
	SYS_mkdirat,
	SYS_mknodat,
	SYS_readlinkat,
	SYS_ftruncate,
	SYS_fallocate,
	SYS_lseek,
	SYS_inotify_add_watch,
	SYS_inotify_rm_watch,
	SYS_timer_create,
	SYS_timer_settime,
	SYS_timer_delete,
	SYS_timerfd_settime,
	SYS_signalfd4,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigtimedwait,
	SYS_sigaltstack,
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_waitid,
	SYS_prctl,
	SYS_dup3,
	SYS_close,
	SYS_pipe2,
	SYS_memfd_create,
	SYS_flock,
	SYS_mount,
	SYS_utimensat,
	SYS_fchownat,
	SYS_fchmodat,
	SYS_chdir,
	SYS_getcwd,
	SYS_pidfd_open,
	SYS_pidfd_getfd,
	SYS_rseq,
	SYS_membarrier,
	SYS_unshare,
	SYS_setns,
	SYS_open_tree,
	SYS_move_mount,
	SYS_fsopen,
	SYS_fsconfig,
	SYS_fsmount,
	SYS_fspick,
	SYS_mount_setattr,
	SYS_execveat,
	SYS_io_uring_enter,
	SYS_io_uring_register,
};

// What would end or stop the caller, hit the first process, or leave behind what the end cannot find.
static const int never[] = {
	SYS_exit,
	SYS_exit_group,
	SYS_rt_sigreturn,
	SYS_fork,
	SYS_vfork,
	SYS_clone,
	SYS_clone3,
	SYS_kill,
	SYS_tkill,
	SYS_tgkill,
	SYS_rt_sigqueueinfo,
	SYS_rt_tgsigqueueinfo,
	SYS_pidfd_send_signal,
	SYS_munmap,
	SYS_mremap,
	SYS_brk,
	SYS_setpgid,
	SYS_setsid,
	SYS_chroot,
	SYS_umount2,
	SYS_arch_prctl,
	SYS_set_robust_list,
	SYS_prlimit64,
	SYS_setrlimit,
	SYS_execve,
	SYS_process_vm_writev,
	SYS_pause,
	SYS_rt_sigsuspend,
	SYS_nanosleep,
	SYS_clock_nanosleep,
	SYS_seccomp,
};

// What would change the cell for those who come after, unless the caller has mounts of its own.
static const int own_mounts_only[] = { SYS_mount, SYS_move_mount, SYS_mount_setattr };

static char *pool, *edge; // random structures; the end of a mapping
static bool own_mounts;
static __thread uint64_t state;

static uint64_t random_word(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned below(unsigned n) { return (unsigned)((random_word() >> 11) % n); }
static const char *random_path(void) { return paths[below(COUNT(paths))]; }
static uint64_t random_pointer(void) { return (uintptr_t)(pool + (below(POOL_BYTES - 4096) & ~7u)); }

static uint64_t argument(void)
{
	switch (below(12)) {
	case 0: return 0;
	case 1: return below(16);
	case 2: return below(64);
	case 3: return below(9000);
	case 4: return UINT64_C(1) << below(64);
	case 5: return (uintptr_t)(edge - below(64));
	case 6: return (uint64_t) - (int64_t)below(200);
	case 7: return (uintptr_t)random_path();
	case 8: return random_word();
	case 9: return UINT64_C(1) << below(32) | UINT64_C(1) << below(32);
	}
	return random_pointer();
}

static void fill_pool(void)
{
	for (unsigned k = 0; k < 64; k++) {
		char *at = (char *)(uintptr_t)random_pointer();
		uint64_t word = argument();

		if (below(6))
			memcpy(at, &word, below(2) ? sizeof(word) : sizeof(uint32_t));
		else
			strcpy(at, random_path());
	}
}

static bool is_among(const int *list, size_t count, long number)
{
	for (size_t k = 0; k < count; k++)
		if (list[k] == number)
			return true;
	return false;
}

// Keeps a call from ending or blocking what makes the calls.
static bool tame(long number, uint64_t *a)
{
	if (number == SYS_mmap || number == SYS_shmat)
		a[number == SYS_mmap ? 0 : 1] = 0; // where there is room
	if (number == SYS_mmap)
		a[1] &= 0xfffff, a[3] &= ~(uint64_t)MAP_FIXED;
	if (number == SYS_mprotect || number == SYS_madvise || number == SYS_mbind || number == SYS_remap_file_pages ||
	    number == SYS_pkey_mprotect)
		a[0] = (uintptr_t)(edge - 4096), a[1] = below(8192);
	if (number == SYS_wait4 || number == SYS_waitid)
		a[number == SYS_wait4 ? 2 : 3] |= WNOHANG;
	if (number == SYS_dup2 || number == SYS_dup3)
		a[1] = 3 + below(40);
	return !(number == SYS_prctl && (a[0] == PR_SET_SECCOMP || a[0] == PR_SET_PDEATHSIG));
}

// ---- rings ----

static struct {
	int fd;
	struct io_uring_params p;
	char *memory, *entries;
} ring = { .fd = -1 };

static void open_ring(void)
{
	ring.p.flags = below(2) ? 0 : 1u << below(14);
	ring.p.sq_thread_idle = 5;
	ring.fd = (int)syscall(SYS_io_uring_setup, 1 + below(64), &ring.p);
	if (ring.fd < 0)
		return;
	ring.memory = mmap(NULL, ring.p.sq_off.array + ring.p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED,
			   ring.fd, IORING_OFF_SQ_RING);
	ring.entries =
		mmap(NULL, ring.p.sq_entries * 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, (off_t)IORING_OFF_SQES);
	if (ring.memory == MAP_FAILED || ring.entries == MAP_FAILED)
		ring.fd = -1;
	else if (below(2))
		syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, (int[]){ 3, 4, 5, 6, 7, -1, -1 }, 7);
}

static void random_entry(struct io_uring_sqe *s)
{
	memset(s, 0, sizeof(*s));
	do
		s->opcode = (uint8_t)below(IORING_OP_LAST + 2);
	while (s->opcode == IORING_OP_MADVISE); // of the program itself
	s->fd = (int)below(40);
	s->flags = (uint8_t)(below(2) ? 0 : below(2) ? 1u << below(7) : random_word());
	s->addr = argument();
	s->len = (uint32_t)(below(2) ? below(2) : argument());
	s->off = below(2) ? 0 : argument();
	s->rw_flags = (int)(below(2) ? 0 : argument());
	s->user_data = below(8);
	s->ioprio = (uint16_t)(below(4) ? 0 : argument());
	s->buf_index = (uint16_t)(below(2) ? 0 : below(4));
	s->splice_fd_in = (int)(below(2) ? 0 : below(40));
}

// Some entries, of which most make sense, and a call.
static void use_ring(void)
{
	unsigned *tail = (unsigned *)(ring.memory + ring.p.sq_off.tail), count = 1 + below(8);

	if (ring.fd < 0)
		return;
	for (unsigned k = 0; k < count; k++) {
		unsigned slot = (*tail + k) & (ring.p.sq_entries - 1);

		random_entry((struct io_uring_sqe *)(ring.entries + slot * 64));
		((unsigned *)(ring.memory + ring.p.sq_off.array))[slot] = below(50) ? slot : (unsigned)random_word();
	}
	__atomic_store_n(tail, *tail + (below(100) ? count : (unsigned)random_word()), __ATOMIC_RELEASE);
	if (below(3)) // takes what is there
		*(unsigned *)(ring.memory + ring.p.cq_off.head) = *(unsigned *)(ring.memory + ring.p.cq_off.tail);
	syscall(SYS_io_uring_enter, ring.fd, count, 0, below(4) ? IORING_ENTER_GETEVENTS : IORING_ENTER_SQ_WAKEUP, NULL,
		0);
}

static void *make_calls(void *seed)
{
	uint64_t a[6];

	for (state = (uintptr_t)seed | 1;;) {
		long number = below(3) ? hot[below(COUNT(hot))] : (long)below(452);

		for (unsigned k = 0; k < COUNT(a); k++)
			a[k] = argument();
		if (is_among(never, COUNT(never), number) || !tame(number, a) ||
		    (!own_mounts && is_among(own_mounts_only, COUNT(own_mounts_only), number)))
			continue;
		if (!below(20))
			fill_pool();
		if (!below(6))
			use_ring();
		syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	}
	return NULL;
}

// Namespaces of its own, a detached mount and an attached one, and descriptors of all of them.
static void enter_spaces(void)
{
	static const int kinds[] = { CLONE_NEWUTS,    CLONE_NEWIPC, CLONE_NEWNET,
				     CLONE_NEWCGROUP, CLONE_NEWPID, CLONE_NEWUSER };
	static const char *const files[] = { "/proc/self/ns/mnt", "/proc/self/ns/net", "/proc/self/ns/pid",
					     "/proc/self/ns/user" };
	int flags = CLONE_NEWNS;

	for (unsigned k = 0; k < COUNT(kinds); k++)
		flags |= below(2) ? kinds[k] : 0;
	own_mounts = !unshare(flags) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (!own_mounts)
		return;
	int made = (int)syscall(SYS_fsopen, "tmpfs", 0);
	syscall(SYS_fsconfig, made, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	syscall(SYS_move_mount, syscall(SYS_fsmount, made, 0, 0), "", AT_FDCWD, "/tmp/d", MOVE_MOUNT_F_EMPTY_PATH);
	syscall(SYS_open_tree, AT_FDCWD, "/tmp", OPEN_TREE_CLONE | (below(2) ? AT_RECURSIVE : 0));
	syscall(SYS_fsopen, "tmpfs", 0);
	for (unsigned k = 0; k < COUNT(files); k++)
		(void)!open(files[k], O_RDONLY);
}

// A filter that is checked and run, and mostly lets calls pass.
static void add_filter(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4 * below(16)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, below(452), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | below(200)),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { COUNT(program), program };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, below(2) ? SECCOMP_FILTER_FLAG_TSYNC : 0, &filter);
}

// Descriptors of every kind, some of which tell by SIGIO.
static void open_all(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct mq_attr attributes = { .mq_maxmsg = 4, .mq_msgsize = 64 };
	sigset_t all;
	int p[2];

	for (unsigned k = 0; k < 6; k++)
		(void)!open(random_path(), (below(2) ? O_RDWR | O_CREAT : O_RDONLY) | O_NONBLOCK, 0666);
	(void)!pipe2(p, O_NONBLOCK);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p);
	send(p[0], "urgent", 6, MSG_OOB);
	socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, p);
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p);
	socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, 0);
	eventfd(0, EFD_NONBLOCK);
	timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	inotify_init1(IN_NONBLOCK);
	sigfillset(&all);
	signalfd(-1, &all, SFD_NONBLOCK);
	memfd_create("memory", MFD_ALLOW_SEALING);
	mq_open("/queue", O_RDWR | O_CREAT | O_NONBLOCK, 0666, &attributes);
	open_ring();
	int epoll = epoll_create1(0);
	for (int fd = 3; fd < epoll; fd++) {
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
		if (below(3) == 0 && fcntl(fd, F_SETOWN, getpid()) == 0)
			fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC);
	}
}

static _Noreturn void child(uint64_t seed, unsigned round)
{
	pthread_t thread;

	state = seed;
	pool = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge = (char *)mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) + 8192;
	munmap(edge, 8192);
	for (int k = 1; k < SIGSYS; k++)
		if (k != SIGSEGV && k != SIGBUS && k != SIGKILL)
			signal(k, SIG_IGN);
	int null = open("/dev/null", O_RDWR);
	for (int k = 0; k < 3; k++)
		dup2(null, k);
	fill_pool();
	if (below(2))
		enter_spaces();
	open_all();
	if (round % 3 == 0)
		add_filter();
	for (unsigned k = 0; k < round % 3; k++)
		pthread_create(&thread, NULL, make_calls, (void *)(uintptr_t)random_word());
	make_calls((void *)(uintptr_t)random_word());
	_exit(0);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); // the only one that the calls cannot set
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static bool ends(pid_t pid, int64_t limit_ms)
{
	for (int64_t end = now_ms() + limit_ms; now_ms() < end; poll(NULL, 0, 2)) {
		pid_t gone = waitpid(pid, NULL, WNOHANG);
		if (gone == pid || (gone < 0 && errno == ECHILD))
			return true;
	}
	return false;
}

static void remove_objects(void)
{
	struct shmid_ds segment;
	struct msqid_ds queue;
	struct semid_ds set;
	int id;

	for (int k = 0; k < 4096; k++) {
		if ((id = shmctl(k, SHM_STAT, &segment)) >= 0)
			shmctl(id, IPC_RMID, NULL);
		if ((id = msgctl(k, MSG_STAT, &queue)) >= 0)
			msgctl(id, IPC_RMID, NULL);
		if ((id = semctl(k, 0, SEM_STAT, &set)) >= 0)
			semctl(id, 0, IPC_RMID);
	}
	for (size_t k = 0; k < COUNT(paths); k++)
		syscall(SYS_mq_unlink, paths[k]);
}

int main(int argc, char **argv)
{
	if (argc != 3 || !getenv("CLOISTER_CELL"))
		return fprintf(stderr, "usage, in a cell: random_calls SEED SECONDS\n"), 2;
	uint64_t seed = strtoull(argv[1], NULL, 0);
	int64_t end = now_ms() + atoi(argv[2]) * INT64_C(1000);
	unsigned round = 0;

	mkdir("/tmp/d", 0777);
	mkfifo("/tmp/fifo", 0666);
	(void)!symlink("/tmp/a", "/tmp/link");
	(void)!symlink("a", "/work/link");
	mkdir("/work/d", 0777);
	for (; now_ms() < end; round++) {
		pid_t pid = fork();
		if (!pid)
			child((seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + round * UINT64_C(0xd1342543de82ef95), round);
		if (ends(pid, CHILD_MS))
			continue;
		kill(pid, SIGKILL);
		if (!ends(pid, ENDS_MS))
			return printf("seed %s: the child of round %u does not end\n", argv[1], round), 1;
	}
	remove_objects();
	printf("seed %s: %u rounds\n", argv[1], round);
	return 0;
}
