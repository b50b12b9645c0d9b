// SPDX-License-Identifier: Apache-2.0
// Does running out of memory end the greediest process by SIGKILL, and leave the others and the kernel well?
//
// Only in a small cell: on a shared machine this test would take all memory there is.
#include "check.h"

static size_t total_bytes(void)
{
	char *line = strstr(check_read_file("/proc/meminfo"), "MemTotal:");

	return line ? strtoull(line + 9, NULL, 10) * 1024 : 0;
}

int main(void)
{
	size_t total = total_bytes();

	if (!getenv("CLOISTER_CELL") || total > (600ul << 20))
		CHECK_SKIP("needs a cell with less than 600 MiB");
	pid_t innocent = fork();
	if (innocent == 0) {
		volatile char *mine =
			mmap(NULL, 50 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (int i = 0; i < 50; i++)
			mine[i * CHECK_PAGE] = 3;
		for (;;)
			check_sleep_ms(10);
	}
	for (int round = 0; round < 3; round++) {
		pid_t greedy = fork();
		if (greedy == 0) {
			for (;;) {
				volatile char *m =
					mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
				if (m == MAP_FAILED)
					_exit(errno == ENOMEM ? 12 : 13);
				for (size_t i = 0; i < 8 << 20; i += CHECK_PAGE)
					m[i] = 1;
			}
		}
		int status = check_wait(greedy);
		CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || status == 12 << 8);
		CHECK_EQ(waitpid(innocent, &status, WNOHANG), 0);
	}
	// All of it came back.
	size_t half = total / 2;
	char *m = mmap(NULL, half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	for (size_t i = 0; i < half; i += CHECK_PAGE)
		m[i] = 1;
	munmap(m, half);
	kill(innocent, SIGKILL);
	check_wait(innocent);
	return check_done();
}
