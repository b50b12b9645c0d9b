// SPDX-License-Identifier: Apache-2.0
// Is memory that processes share (memfd, POSIX shm, anonymous) one and the same for all, however each came to it?
#include "check.h"
#include <setjmp.h>
#include <sys/socket.h>

static sigjmp_buf escape;
static void *volatile fault_address;

static void caught(int signal CHECK_UNUSED, siginfo_t *info, void *context CHECK_UNUSED)
{
	fault_address = info->si_addr;
	siglongjmp(escape, 1);
}

static bool faults(volatile char *p)
{
	if (sigsetjmp(escape, 1) == 0) {
		(void)*p;
		return false;
	}
	CHECK(fault_address == p);
	return true;
}

// Two processes take turns: turn counts up.
struct board {
	atomic_int turn;
	char text[100];
};
static struct board *board;

static void await_turn(int n) { WAIT_UNTIL(atomic_load(&board->turn) == n); }

static void send_descriptor(int socket, int fd)
{
	char byte = 'f', control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	CHECK_EQ(sendmsg(socket, &m, 0), 1);
}

static int receive_descriptor(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	int fd = -1;

	CHECK_EQ(recvmsg(socket, &m, 0), 1);
	if (CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

#define SIZE (8 * CHECK_PAGE)

static char *map(int fd, size_t size, int flags, off_t offset)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, offset);

	CHECK(p != MAP_FAILED);
	return p;
}

// The other process gets the memory by message only, after both exist.
static void other_process(int socket)
{
	int fd = receive_descriptor(socket);
	char *p = map(fd, SIZE, MAP_SHARED, 0), byte = 0;

	CHECK_STR(p + CHECK_PAGE, "written before");
	strcpy(p + 3 * CHECK_PAGE, "from the other");
	atomic_store(&board->turn, 1);
	await_turn(2);
	CHECK_STR(p + 5 * CHECK_PAGE, "by mapping");
	CHECK_STR(p + 6 * CHECK_PAGE, "by write");
	CHECK_EQ(pread(fd, &byte, 1, 5 * CHECK_PAGE), 1);
	CHECK_EQ(byte, 'b');
	atomic_store(&board->turn, 3);
	await_turn(4); // cut to two pages
	CHECK(!faults(p + CHECK_PAGE));
	CHECK(faults(p + 2 * CHECK_PAGE + 1));
	CHECK(faults(p + 6 * CHECK_PAGE));
	atomic_store(&board->turn, 5);
	await_turn(6); // grown again, empty
	CHECK(!faults(p + 6 * CHECK_PAGE));
	CHECK_EQ(p[6 * CHECK_PAGE], 0);
	p[6 * CHECK_PAGE] = 'n';
	atomic_store(&board->turn, 7);
	await_turn(8); // a hole punched
	CHECK_EQ(p[CHECK_PAGE], 0);
	CHECK_EQ(p[6 * CHECK_PAGE], 'n');
	check_child_exit();
}

static void passed_by_message(int fd)
{
	int pair[2];
	char byte = 0;

	atomic_store(&board->turn, 0);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid_t pid = fork();
	if (pid == 0)
		other_process(pair[1]);
	CHECK_OK(ftruncate(fd, SIZE));
	char *p = map(fd, SIZE, MAP_SHARED, 0), *q = map(fd, 2 * CHECK_PAGE, MAP_SHARED, 5 * CHECK_PAGE);
	strcpy(p + CHECK_PAGE, "written before");
	send_descriptor(pair[0], fd);
	await_turn(1);
	CHECK_STR(p + 3 * CHECK_PAGE, "from the other");
	strcpy(q, "by mapping");
	CHECK_EQ(pwrite(fd, "by write", 9, 6 * CHECK_PAGE), 9);
	CHECK_STR(q + CHECK_PAGE, "by write");
	atomic_store(&board->turn, 2);
	await_turn(3);
	CHECK_OK(ftruncate(fd, 2 * CHECK_PAGE));
	CHECK(faults(p + 2 * CHECK_PAGE));
	CHECK(faults(q));
	atomic_store(&board->turn, 4);
	await_turn(5);
	CHECK_OK(ftruncate(fd, SIZE));
	atomic_store(&board->turn, 6);
	await_turn(7);
	CHECK_EQ(q[CHECK_PAGE], 'n');
	CHECK_EQ(pread(fd, &byte, 1, 6 * CHECK_PAGE), 1);
	CHECK_EQ(byte, 'n');
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, CHECK_PAGE, CHECK_PAGE) < 0) {
		CHECK(errno == EOPNOTSUPP);
		p[CHECK_PAGE] = 0;
	}
	atomic_store(&board->turn, 8);
	CHECK_EQ(check_wait(pid), 0);
	munmap(p, SIZE);
	munmap(q, 2 * CHECK_PAGE);
	close(fd);
	close(pair[0]);
	close(pair[1]);
}

// Private mappings of shared memory: see it until they write, and keep their copy to themselves and their children.
static void private_views(void)
{
	int fd = CHECK_OK(memfd_create("views", 0));

	CHECK_OK(ftruncate(fd, SIZE));
	char *shared = map(fd, SIZE, MAP_SHARED, 0), *own = map(fd, SIZE, MAP_PRIVATE, 0);
	strcpy(shared, "one");
	CHECK_STR(own, "one");
	own[CHECK_PAGE] = 'p';
	CHECK_EQ(shared[CHECK_PAGE], 0);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_EQ(own[CHECK_PAGE], 'p');
		own[CHECK_PAGE] = 'c';
		strcpy(own, "mine");
		CHECK_STR(shared, "one");
		strcpy(shared + 2 * CHECK_PAGE, "two");
		CHECK_STR(own + 2 * CHECK_PAGE, "two");
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(own[CHECK_PAGE], 'p');
	CHECK_STR(own, "one");
	CHECK_STR(own + 2 * CHECK_PAGE, "two");
	munmap(own, SIZE);
	munmap(shared, SIZE);
	close(fd);
}

// Many processes, each with its own mapping of the same words.
static void counted_by_many(int fd)
{
	pid_t pids[8];

	CHECK_OK(ftruncate(fd, SIZE));
	for (int n = 0; n < 8; n++) {
		pids[n] = fork();
		if (pids[n] == 0) {
			atomic_int *words = (atomic_int *)map(fd, SIZE, MAP_SHARED, 0);
			for (int i = 0; i < 4000; i++)
				atomic_fetch_add(&words[i % 8 * 1024], 1);
			_exit(0);
		}
	}
	for (int n = 0; n < 8; n++)
		CHECK_EQ(check_wait(pids[n]), 0);
	int *words = (int *)map(fd, SIZE, MAP_SHARED, 0);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(words[i * 1024], 4000);
	munmap(words, SIZE);
	close(fd);
}

// Moved, split, protected and unmapped in one process, untouched in the other.
static void handled_apart(void)
{
	char *p = check_shared(SIZE);

	strcpy(p + 4 * CHECK_PAGE, "kept");
	pid_t pid = fork();
	if (pid == 0) {
		char *moved = mremap(p + 4 * CHECK_PAGE, CHECK_PAGE, CHECK_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				     mmap(NULL, CHECK_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		CHECK(moved != MAP_FAILED);
		CHECK_STR(moved, "kept");
		strcpy(moved, "changed");
		CHECK_OK(munmap(p, 4 * CHECK_PAGE));
		CHECK_OK(mprotect(p + 5 * CHECK_PAGE, CHECK_PAGE, PROT_NONE));
		CHECK(faults(p + 5 * CHECK_PAGE));
		CHECK_OK(madvise(p + 6 * CHECK_PAGE, CHECK_PAGE, MADV_DONTNEED)); // shared: the content stays
		check_child_exit();
	}
	strcpy(p + 6 * CHECK_PAGE, "stays");
	CHECK_EQ(check_wait(pid), 0);
	CHECK_STR(p + 4 * CHECK_PAGE, "changed");
	CHECK_STR(p + 6 * CHECK_PAGE, "stays");
	p[0] = p[5 * CHECK_PAGE] = 1;
	munmap(p, SIZE);
}

static int shm(void)
{
	char name[40];

	snprintf(name, sizeof(name), "/guest-%d", (int)getpid());
	int fd = CHECK_OK(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	CHECK_ERR(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	int again = CHECK_OK(shm_open(name, O_RDONLY, 0));
	CHECK_OK(shm_unlink(name));
	CHECK_ERR(shm_open(name, O_RDWR, 0), ENOENT);
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_WRITE, MAP_SHARED, again, 0), EACCES);
	close(again);
	return fd;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	board = check_shared(sizeof(*board));
	passed_by_message(CHECK_OK(memfd_create("passed", 0)));
	passed_by_message(shm());
	private_views();
	counted_by_many(CHECK_OK(memfd_create("counted", 0)));
	counted_by_many(shm());
	handled_apart();
	return check_done();
}
