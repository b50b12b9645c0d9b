// SPDX-License-Identifier: Apache-2.0
// Plays a cell on port hosted whose kernel is wholly in an attacker's hands. A plain program in the cell that knows where the
// kernel keeps things: it jumps to `syscall` instructions in kernel text with registers of its own, so that the host's filter
// and the broker are all that stands between it and the host. tests/system/hosted_security.py says what must not happen.
//
//     attack raw NR [ARG...]       one call of the host; ARG: number, s:TEXT (its address), b:SIZE (zeroed room),
//                                  un:PATH or in:PORT (a socket address), v:TEXT (an array of that text and NULL)
//     attack int80 [kernel] PATH   unlink by the 32-bit way in, from here or from such bytes in kernel text
//     attack garbage SEED          random bytes into every descriptor
//     attack close                 every descriptor closed
//     attack bomb COUNT            host processes that the kernel knows nothing of
//     attack memory ...            attack_memory.c
//     attack stray ...             attack_stray.c
//     attack broker ...            attack_broker.c
//     attack network ...           attack_network.c
#define _GNU_SOURCE
#include "attack.h"

#include <arpa/inet.h>
#include <cpuid.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define SCAN_BYTES  (256u << 10)
#define FRAME_BYTES 168

struct kernel_places places;

// ---- the kernel, from a program's point of view ----

static uint64_t at_gs(unsigned offset)
{
	uint64_t value;

	__asm__ volatile("movq %%gs:(%1), %0" : "=r"(value) : "r"((uint64_t)offset));
	return value;
}

static uintptr_t find_in_text(const char *bytes, size_t size)
{
	const char *start = (const char *)(places.text & ~UINT64_C(0xfff));
	char *found = memmem(start, SCAN_BYTES, bytes, size);

	return (uintptr_t)found;
}

// PKRU says what is closed until the next return from the kernel.
static void open_memory(void)
{
	unsigned a, b, c = 0, d;

	if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & bit_OSPKE))
		__asm__ volatile("wrpkru" : : "a"(0), "c"(0), "d"(0) : "memory");
}

// struct port_task (port/hosted/task.h) and its own address; below it the frame, an empty word, and where the kernel's first
// function on this stack has returned to.
void attack_find_kernel(void)
{
	open_memory();
	places.task = at_gs(16);
	places.current = at_gs(0);
	places.text = ((const uint64_t *)(places.task - FRAME_BYTES))[-2];
	places.gadget = find_in_text("\x0f\x05\xc3", 3);
	if (!places.gadget) {
		fprintf(stderr, "no syscall instruction in kernel text\n");
		exit(3);
	}
}

long host(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;

	// Below the red zone: the call uses the stack.
	__asm__ volatile("subq $128, %%rsp\n\tcallq *%[gadget]\n\taddq $128, %%rsp"
			 : "+a"(nr)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9), [gadget] "b"(places.gadget)
			 : "rcx", "r11", "memory", "cc");
	return nr;
}

bool host_fd(int fd, unsigned *mode)
{
	struct stat st;

	if (HOST(SYS_fstat, fd, &st) < 0)
		return false;
	*mode = st.st_mode;
	return true;
}

void shout(const char *format, ...)
{
	char text[512];
	unsigned mode;
	va_list arguments;

	va_start(arguments, format);
	int size = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	struct iovec v = { text, (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1 };
	for (int fd = 0; fd < 64; fd++)
		if (host_fd(fd, &mode) && S_ISFIFO(mode))
			HOST(SYS_pwritev2, fd, &v, 1, -1, -1, 0);
}

// ---- one call ----

static uint64_t argument(char *text)
{
	if (strncmp(text, "s:", 2) == 0)
		return (uint64_t)(text + 2);
	if (strncmp(text, "b:", 2) == 0)
		return (uint64_t)calloc(1, strtoul(text + 2, NULL, 0) + 1);
	if (strncmp(text, "v:", 2) == 0) {
		char **list = calloc(2, sizeof(*list));
		list[0] = text + 2;
		return (uint64_t)list;
	}
	if (strncmp(text, "un:", 3) == 0) {
		struct sockaddr_un *un = calloc(1, sizeof(*un));
		un->sun_family = AF_UNIX;
		strncpy(un->sun_path, text + 3, sizeof(un->sun_path) - 1);
		return (uint64_t)un;
	}
	if (strncmp(text, "in:", 3) == 0) {
		struct sockaddr_in *in = calloc(1, sizeof(*in));
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(text + 3));
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return (uint64_t)in;
	}
	return strtoull(text, NULL, 0);
}

static int raw(int argc, char **argv)
{
	uint64_t a[6] = { 0 };

	for (int i = 1; i < argc && i <= 6; i++)
		a[i - 1] = argument(argv[i]);
	long result = host(strtol(argv[0], NULL, 0), a[0], a[1], a[2], a[3], a[4], a[5]);
	shout("RETURNED %ld\n", result);
	return 0;
}

// ---- the 32-bit way in ----

static int by_interrupt(int argc, char **argv)
{
	char *path = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	bool from_kernel = argc > 1 && strcmp(argv[0], "kernel") == 0;
	uintptr_t bytes = from_kernel ? find_in_text("\xcd\x80", 2) : 0;
	long result = 10; // unlink, of i386

	if (path == MAP_FAILED || argc < 1)
		return 2;
	strncpy(path, argv[from_kernel ? 1 : 0], 4095);
	if (from_kernel && !bytes) {
		printf("NONE\n"); // no such bytes in kernel text
		return 0;
	}
	if (from_kernel)
		__asm__ volatile("jmpq *%1" : "+a"(result) : "r"(bytes), "b"(path) : "memory");
	else
		__asm__ volatile("int $0x80" : "+a"(result) : "b"(path) : "memory", "r8", "r9", "r10", "r11");
	printf("RESULT %ld\n", result);
	return 0;
}

// ---- descriptors ----

static uint64_t random_state;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void garbage_into(int fd)
{
	static unsigned char bytes[70000];

	for (int n = 0; n < 20; n++) {
		struct iovec v = { bytes, n % 4 == 3 ? sizeof(bytes) : next_random() % 300 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
		for (size_t i = 0; i < v.iov_len; i++)
			bytes[i] = (unsigned char)(n % 2 ? next_random() : next_random() % 8);
		if (HOST(SYS_sendmsg, fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			HOST(SYS_pwritev2, fd, &v, 1, -1, -1, 8 /* RWF_NOWAIT */);
	}
}

static int garbage(int argc, char **argv)
{
	unsigned mode;

	random_state = argc > 0 ? strtoull(argv[0], NULL, 0) * 2654435761u + 1 : 1;
	for (int round = 0; round < 5; round++)
		for (int fd = 0; fd < 256; fd++)
			if (host_fd(fd, &mode) && !S_ISREG(mode))
				garbage_into(fd);
	return 0;
}

static int close_all(void)
{
	for (int fd = 0; fd < FDS_MAX; fd++)
		HOST(SYS_close, fd);
	return 0;
}

// ---- processes ----

_Noreturn static void bomb(int count)
{
	int made = 0;

	for (int i = 0; i < count; i++) {
		long pid = HOST(SYS_clone, CLONE_PARENT | CLONE_FILES | SIGCHLD);
		if (pid == 0)
			for (;;)
				HOST(SYS_ppoll, 0, 0, 0, 0, 0);
		if (pid < 0)
			break;
		made++;
	}
	shout("BOMB %d\n", made);
	for (;;)
		HOST(SYS_ppoll, 0, 0, 0, 0, 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "stray") == 0)
		return attack_stray(argc - 2, argv + 2);
	attack_find_kernel();
	if (strcmp(what, "raw") == 0 && argc > 2)
		return raw(argc - 2, argv + 2);
	if (strcmp(what, "int80") == 0)
		return by_interrupt(argc - 2, argv + 2);
	if (strcmp(what, "garbage") == 0)
		return garbage(argc - 2, argv + 2);
	if (strcmp(what, "close") == 0)
		return close_all();
	if (strcmp(what, "bomb") == 0 && argc > 2)
		bomb(atoi(argv[2]));
	if (strcmp(what, "memory") == 0 && argc > 2)
		return attack_memory(argv[2], argc - 3, argv + 3);
	if (strcmp(what, "network") == 0 && argc > 2)
		return attack_network(argv[2], argc - 3, argv + 3);
	if (strcmp(what, "broker") == 0 && argc > 2)
		return attack_broker(argv[2], argc - 3, argv + 3);
	fprintf(stderr, "attack: what? (see its source)\n");
	return 2;
}
