// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile bool is_raw;

bool terminal_is_all_streams(void)
{
	struct stat first, other;

	if (!isatty(0) || fstat(0, &first))
		return false;
	for (int fd = 1; fd <= 2; fd++)
		if (!isatty(fd) || fstat(fd, &other) || other.st_rdev != first.st_rdev)
			return false;
	return true;
}

void terminal_size(unsigned short *rows, unsigned short *columns)
{
	struct winsize size = { 0 };

	ioctl(0, TIOCGWINSZ, &size);
	*rows = size.ws_row;
	*columns = size.ws_col;
}

bool terminal_raw(void)
{
	struct termios raw;

	if (is_raw || tcgetattr(0, &saved))
		return is_raw;
	raw = saved;
	cfmakeraw(&raw);
	is_raw = !tcsetattr(0, TCSADRAIN, &raw);
	return is_raw;
}

void terminal_restore(void)
{
	if (!is_raw)
		return;
	tcsetattr(0, TCSADRAIN, &saved);
	is_raw = false;
}
