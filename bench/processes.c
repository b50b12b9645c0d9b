// SPDX-License-Identifier: Apache-2.0
// Processes: made, replaced, ended, waited for.
#define _GNU_SOURCE
#include "micro.h"

#include <sys/wait.h>
#include <unistd.h>

static void forks(long count)
{
	for (long i = 0; i < count; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			die("fork");
	}
}

static void fork_execs(long count)
{
	char *argv[] = { "/bin/true", NULL }, *envp[] = { NULL };

	for (long i = 0; i < count; i++) {
		pid_t pid = fork();
		int status;
		if (pid == 0) {
			execve(argv[0], argv, envp);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			die("fork and exec");
	}
}

static const struct measure list[] = {
	{ "fork", 100, forks, NULL, NULL },
	{ "fork_exec", 20, fork_execs, NULL, NULL },
};
const struct measures process_measures = { list, sizeof(list) / sizeof(list[0]) };
