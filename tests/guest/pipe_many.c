// SPDX-License-Identifier: Apache-2.0
// Do many readers and writers on one pipe lose, repeat or tear nothing?
#include "check.h"

#define WRITERS 6
#define READERS 3
#define RECORDS 300

struct record {
	int writer, number;
	char fill[120];
};

static int *seen;

static void read_records(int fd)
{
	struct record record;
	size_t have = 0;
	ssize_t got;

	// A record is less than PIPE_BUF: it arrives whole, so that readers never see half a one.
	while ((got = read(fd, &record, sizeof(record))) > 0) {
		have = (size_t)got;
		if (have != sizeof(record) || record.writer >= WRITERS || record.number >= RECORDS)
			_exit(1);
		for (size_t i = 0; i < sizeof(record.fill); i++)
			if (record.fill[i] != (char)(record.writer * 31 + record.number))
				_exit(2);
		__atomic_fetch_add(&seen[record.writer * RECORDS + record.number], 1, __ATOMIC_SEQ_CST);
	}
	_exit(0);
}

static void write_records(int fd, int writer)
{
	struct record record = { .writer = writer };

	for (record.number = 0; record.number < RECORDS; record.number++) {
		memset(record.fill, writer * 31 + record.number, sizeof(record.fill));
		if (write(fd, &record, sizeof(record)) != sizeof(record))
			_exit(3);
	}
	_exit(0);
}

static void all_to_all(void)
{
	int fds[2];
	pid_t pids[WRITERS + READERS];

	CHECK_OK(pipe(fds));
	for (int i = 0; i < WRITERS + READERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(fds[i < WRITERS ? 0 : 1]);
			if (i < WRITERS)
				write_records(fds[1], i);
			read_records(fds[0]);
		}
	}
	close(fds[0]);
	close(fds[1]);
	for (int i = 0; i < WRITERS + READERS; i++)
		CHECK_EQ(check_wait(pids[i]), 0);
	for (int i = 0; i < WRITERS * RECORDS; i++)
		if (!CHECK_EQ(seen[i], 1))
			break;
}

static void a_megabyte_in_odd_pieces(void)
{
	int fds[2];
	unsigned seed = 1;
	size_t total = 1 << 20, sent = 0;
	char buffer[9000];

	CHECK_OK(pipe(fds));
	pid_t pid = fork();
	if (pid == 0) {
		size_t at = 0;
		ssize_t got;
		unsigned own = 2;
		close(fds[1]);
		while ((got = read(fds[0], buffer, 1 + rand_r(&own) % sizeof(buffer))) > 0)
			for (ssize_t i = 0; i < got; i++, at++)
				if (buffer[i] != (char)(at * 7 + (at >> 8)))
					_exit(1);
		_exit(at == total ? 0 : 2);
	}
	close(fds[0]);
	while (sent < total) {
		size_t part = 1 + rand_r(&seed) % sizeof(buffer);
		if (part > total - sent)
			part = total - sent;
		for (size_t i = 0; i < part; i++)
			buffer[i] = (char)((sent + i) * 7 + ((sent + i) >> 8));
		if (!CHECK_EQ(write(fds[1], buffer, part), (ssize_t)part))
			break;
		sent += part;
	}
	close(fds[1]);
	CHECK_EQ(check_wait(pid), 0);
}

// A chain of processes, each passing on what it reads.
static void chain(void)
{
	int in = -1, first[2], fds[2];

	CHECK_OK(pipe(first));
	in = first[0];
	for (int i = 0; i < 20; i++) {
		CHECK_OK(pipe(fds));
		if (fork() == 0) {
			char byte;
			close(first[1]);
			close(fds[0]);
			while (read(in, &byte, 1) == 1) {
				byte++;
				if (write(fds[1], &byte, 1) != 1)
					_exit(1);
			}
			_exit(0);
		}
		close(in);
		close(fds[1]);
		in = fds[0];
	}
	char byte = 'A';
	CHECK_EQ(write(first[1], &byte, 1), 1);
	close(first[1]);
	CHECK_EQ(read(in, &byte, 1), 1);
	CHECK_EQ(byte, 'A' + 20);
	CHECK_EQ(read(in, &byte, 1), 0);
	while (wait(NULL) > 0)
		;
}

int main(void)
{
	seen = check_shared(sizeof(int) * WRITERS * RECORDS);
	all_to_all();
	a_megabyte_in_odd_pieces();
	chain();
	return check_done();
}
