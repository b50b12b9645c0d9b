// SPDX-License-Identifier: Apache-2.0
// Files of a tree from outside.
#define _GNU_SOURCE
#include "micro.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void stats(long count)
{
	struct stat st;

	for (long i = 0; i < count; i++)
		if (stat("/usr/bin/bash", &st) < 0)
			die("stat");
}

static int file = -1;

static void pread_start(void)
{
	char block[4096];

	file = open("/usr/bin/bash", O_RDONLY);
	if (file < 0 || pread(file, block, 4096, 0) != 4096)
		die("/usr/bin/bash");
}

static void preads(long count)
{
	char block[4096];

	for (long i = 0; i < count; i++)
		if (pread(file, block, 4096, 0) != 4096)
			die("pread");
}

static void pread_stop(void) { close(file); }

// tree/dDD/eE/fileN of the caller's directory (bench/work.py), each once: nothing of a file is known before.
static long next_file;

static void files_start(void)
{
	next_file = 0;
	if (chdir(micro_directory()) < 0)
		die(micro_directory());
}

static void open_read_closes(long count)
{
	char path[64], block[4096];

	for (long i = 0; i < count; i++, next_file++) {
		snprintf(path, sizeof(path), "tree/d%02ld/e%ld/file%ld", next_file / 100, next_file / 20 % 5,
			 next_file);
		int fd = open(path, O_RDONLY);
		if (fd < 0 || read(fd, block, sizeof(block)) < 0)
			die(path);
		close(fd);
	}
}

static const struct measure list[] = {
	{ "stat", 20000, stats, NULL, NULL },
	{ "pread", 40000, preads, pread_start, pread_stop },
	{ "open_read_close", 1800, open_read_closes, files_start, NULL },
};
const struct measures files_measures = { list, sizeof(list) / sizeof(list[0]) };
