// SPDX-License-Identifier: Apache-2.0
// Many processes and threads at the same names, files and descriptors: is what must be atomic atomic?
#include "check.h"

#include <dirent.h>
#include <sys/file.h>

#define WORKERS 4
#define ROUNDS  150

static void in_workers(void (*function)(int worker))
{
	pid_t pids[WORKERS];

	for (int w = 0; w < WORKERS; w++) {
		pids[w] = fork();
		if (pids[w] == 0) {
			function(w);
			check_child_exit();
		}
	}
	for (int w = 0; w < WORKERS; w++)
		CHECK_EQ(check_wait(pids[w]), 0);
}

static void append_lines(int worker)
{
	char line[200];
	int fd = CHECK_OK(open("log", O_WRONLY | O_APPEND | O_CREAT, 0600));

	memset(line, 'a' + worker, sizeof(line));
	for (int i = 0; i < ROUNDS; i++) {
		int size = 20 + (i * 7 + worker * 13) % 150;

		line[size - 1] = '\n';
		CHECK_EQ(write(fd, line, size), size);
		line[size - 1] = 'a' + worker;
	}
	close(fd);
}

static void appended_lines_are_whole(void)
{
	int lines = 0;

	in_workers(append_lines);
	for (char *line = strtok(check_read_file("log"), "\n"); line; line = strtok(NULL, "\n"), lines++)
		for (char *c = line; *c; c++)
			if (!CHECK(*c == *line))
				return;
	CHECK_EQ(lines, WORKERS * ROUNDS);
}

static int *winners;

static void race_to_make(int worker CHECK_UNUSED)
{
	char name[32];

	for (int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "made%d", i);
		if (mkdir(name, 0700) == 0)
			__atomic_fetch_add(&winners[i], 1, __ATOMIC_SEQ_CST);
		else
			CHECK_EQ(errno, EEXIST);
		snprintf(name, sizeof(name), "excl%d", i);
		int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
		if (fd >= 0)
			__atomic_fetch_add(&winners[i], 10, __ATOMIC_SEQ_CST);
		else
			CHECK_EQ(errno, EEXIST);
		close(fd);
	}
}

static void race_to_remove(int worker CHECK_UNUSED)
{
	char name[32];

	for (int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "made%d", i);
		if (rmdir(name) == 0)
			__atomic_fetch_add(&winners[i], 100, __ATOMIC_SEQ_CST);
		snprintf(name, sizeof(name), "excl%d", i);
		if (unlink(name) == 0)
			__atomic_fetch_add(&winners[i], 1000, __ATOMIC_SEQ_CST);
	}
}

static void one_makes_and_one_removes(void)
{
	winners = check_shared(ROUNDS * sizeof(int));
	in_workers(race_to_make);
	in_workers(race_to_remove);
	for (int i = 0; i < ROUNDS; i++)
		CHECK_EQ(winners[i], 1111);
}

// Writers replace "target" by rename; it never is absent or partial for readers.
static void replace_or_read(int worker)
{
	char name[32], text[64];

	snprintf(name, sizeof(name), "new%d", worker);
	for (int i = 0; i < ROUNDS; i++) {
		if (worker % 2) {
			check_write_file(name, worker == 1 ? "first version" : "other version");
			CHECK_OK(rename(name, "target"));
			continue;
		}
		int fd = open("target", O_RDONLY);
		if (!CHECK(fd >= 0))
			continue;
		CHECK_EQ(read(fd, text, sizeof(text)), 13);
		CHECK(!memcmp(text, "first", 5) || !memcmp(text, "other", 5));
		close(fd);
	}
}

static void renames_replace_at_once(void)
{
	check_write_file("target", "first version");
	in_workers(replace_or_read);
}

// Directories trade places while others walk through them.
static void trade_or_walk(int worker)
{
	for (int i = 0; i < ROUNDS; i++) {
		if (worker == 0) {
			CHECK_OK(syscall(SYS_renameat2, AT_FDCWD, "left/in", AT_FDCWD, "right/in",
					 2)); // RENAME_EXCHANGE
		} else {
			struct stat st;
			char cwd[300];

			CHECK_OK(stat("left/in/file", &st));
			CHECK_OK(chdir("left/in"));
			CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
			CHECK(strstr(cwd, "left/in") || strstr(cwd, "right/in"));
			CHECK_OK(stat("../in/file", &st));
			CHECK_OK(chdir("../.."));
		}
	}
}

static void walks_survive_renames(void)
{
	CHECK_OK(mkdir("left", 0700));
	CHECK_OK(mkdir("right", 0700));
	CHECK_OK(mkdir("left/in", 0700));
	CHECK_OK(mkdir("right/in", 0700));
	check_write_file("left/in/file", "1");
	check_write_file("right/in/file", "2");
	in_workers(trade_or_walk);
}

static void count_under_lock(int worker)
{
	int fd = CHECK_OK(open("counter", O_RDWR)), value;

	for (int i = 0; i < ROUNDS; i++) {
		if (worker % 2) {
			CHECK_OK(lockf(fd, F_LOCK, 0));
		} else {
			struct flock l = { .l_type = F_WRLCK };
			CHECK_OK(fcntl(fd, F_SETLKW, &l));
		}
		CHECK_EQ(pread(fd, &value, sizeof(value), 0), sizeof(value));
		value++;
		CHECK_EQ(pwrite(fd, &value, sizeof(value), 0), sizeof(value));
		struct flock l = { .l_type = F_UNLCK };
		CHECK_OK(fcntl(fd, F_SETLK, &l));
	}
	close(fd);
}

static void locks_exclude(void)
{
	int value = 0, fd = CHECK_OK(open("counter", O_CREAT | O_RDWR, 0600));

	CHECK_EQ(write(fd, &value, sizeof(value)), sizeof(value));
	in_workers(count_under_lock);
	CHECK_EQ(pread(fd, &value, sizeof(value), 0), sizeof(value));
	CHECK_EQ(value, WORKERS * ROUNDS);
	close(fd);
}

static int shared_fd;

static void *share_offset(void *argument)
{
	char record[8];

	memset(record, 'A' + (int)(intptr_t)argument, sizeof(record));
	for (int i = 0; i < ROUNDS; i++) {
		int fd = CHECK_OK(dup(shared_fd));
		CHECK_EQ(write(i % 2 ? fd : shared_fd, record, sizeof(record)), sizeof(record));
		close(fd);
	}
	return NULL;
}

static void threads_share_descriptors(void)
{
	pthread_t threads[WORKERS];

	shared_fd = CHECK_OK(open("offset", O_CREAT | O_RDWR, 0600));
	for (intptr_t w = 0; w < WORKERS; w++)
		CHECK_EQ(pthread_create(&threads[w], NULL, share_offset, (void *)w), 0);
	for (int w = 0; w < WORKERS; w++)
		pthread_join(threads[w], NULL);
	CHECK_EQ(lseek(shared_fd, 0, SEEK_CUR), WORKERS * ROUNDS * 8); // no write overtook another's position
	CHECK_EQ(lseek(shared_fd, 0, SEEK_END), WORKERS * ROUNDS * 8);
	close(shared_fd);
}

static void read_while_removing(int worker)
{
	char name[32];

	for (int i = worker; i < 200; i += WORKERS) {
		snprintf(name, sizeof(name), "many/f%d", i);
		CHECK_OK(unlink(name));
	}
	CHECK_EQ(chdir("many"), 0);
}

static void directories_shrink_while_read(void)
{
	char name[32];
	int keep = 0;
	struct dirent *entry;

	CHECK_OK(mkdir("many", 0700));
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "many/f%d", i);
		check_write_file(name, "");
		snprintf(name, sizeof(name), "many/keep%d", i);
		check_write_file(name, "");
	}
	DIR *d = opendir("many");
	CHECK(readdir(d) != NULL);
	in_workers(read_while_removing);
	rewinddir(d);
	while ((entry = readdir(d)))
		keep += !strncmp(entry->d_name, "keep", 4);
	CHECK_EQ(keep, 200);
	closedir(d);
}

int main(void)
{
	check_tmpdir();
	appended_lines_are_whole();
	one_makes_and_one_removes();
	renames_replace_at_once();
	walks_survive_renames();
	locks_exclude();
	threads_share_descriptors();
	directories_shrink_while_read();
	return check_done();
}
