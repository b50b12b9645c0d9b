// SPDX-License-Identifier: Apache-2.0
// Does a terminal edit lines, echo, translate, raise signals and resize as termios(3) says?
#include "check.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;

static void make(void)
{
	struct winsize size = { 24, 80, 0, 0 };

	CHECK_OK(openpty(&master, &slave, NULL, NULL, &size));
	fcntl(master, F_SETFD, FD_CLOEXEC);
}

static void type(const char *text) { CHECK_EQ(write(master, text, strlen(text)), (ssize_t)strlen(text)); }

// What the terminal shows, within a short while.
static const char *shown(void)
{
	static char text[1024];
	size_t used = 0;
	struct pollfd p = { .fd = master, .events = POLLIN };

	while (poll(&p, 1, 50) > 0 && (p.revents & POLLIN)) {
		ssize_t got = read(master, text + used, sizeof(text) - 1 - used);
		if (got <= 0)
			break;
		used += got;
	}
	text[used] = 0;
	return text;
}

static const char *line(void)
{
	static char text[1024];
	struct pollfd p = { .fd = slave, .events = POLLIN };

	text[0] = 0;
	if (poll(&p, 1, 2000) <= 0)
		return "(nothing)";
	ssize_t got = read(slave, text, sizeof(text) - 1);
	text[got > 0 ? got : 0] = 0;
	return text;
}

static bool quiet(void)
{
	struct pollfd p = { .fd = slave, .events = POLLIN };

	return poll(&p, 1, 40) == 0;
}

static void canonical(void)
{
	type("hel");
	CHECK(quiet()); // not before the line ends
	type("lo\n");
	CHECK_STR(line(), "hello\n");
	CHECK_STR(shown(), "hello\r\n"); // echoed, with the carriage return added
	type("wrong\177\177\177\177\177right\r");
	CHECK_STR(line(), "right\n"); // erased; a return becomes a new line
	CHECK_STR(shown(), "wrong\b \b\b \b\b \b\b \b\b \bright\r\n");
	type("kill this\025new\n"); // ^U
	CHECK_STR(line(), "new\n");
	shown();
	type("two words\027x\n"); // ^W
	CHECK_STR(line(), "two x\n");
	shown();
	type("lit\026\003eral\n"); // ^V takes the next as it is
	CHECK_STR(line(), "lit\003eral\n");
	shown();
	type("one\ntwo\n");
	CHECK_STR(line(), "one\n"); // a line a read
	CHECK_STR(line(), "two\n");
	shown();
	type("\004"); // ^D on an empty line: end of file
	CHECK_STR(line(), "");
	type("part\004"); // ^D within: what there is
	CHECK_STR(line(), "part");
	CHECK_STR(shown(), "part");
	int available = 0;
	type("12345\n");
	CHECK(!quiet());
	CHECK_OK(ioctl(slave, FIONREAD, &available));
	CHECK_EQ(available, 6);
	char few[4] = "";
	CHECK_EQ(read(slave, few, 3), 3); // the rest of a line stays
	CHECK_STR(line(), "45\n");
	shown();
}

static void output(void)
{
	struct termios t;

	CHECK_EQ(write(slave, "a\nb\tc", 5), 5);
	CHECK_STR(shown(), "a\r\nb\tc");
	CHECK_OK(tcgetattr(slave, &t));
	CHECK(t.c_oflag & OPOST && t.c_lflag & ICANON && t.c_lflag & ECHO && t.c_lflag & ISIG);
	t.c_oflag &= ~OPOST;
	CHECK_OK(tcsetattr(slave, TCSADRAIN, &t));
	CHECK_EQ(write(slave, "a\n", 2), 2);
	CHECK_STR(shown(), "a\n");
	t.c_oflag |= OPOST;
	t.c_lflag &= ~ECHO;
	CHECK_OK(tcsetattr(slave, TCSAFLUSH, &t));
	type("secret\n");
	CHECK_STR(shown(), "");
	CHECK_STR(line(), "secret\n");
	t.c_lflag |= ECHO;
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
}

static void raw(void)
{
	struct termios old, t;

	CHECK_OK(tcgetattr(slave, &old));
	t = old;
	cfmakeraw(&t);
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
	type("a\003\r");
	CHECK_STR(line(), "a\003\r"); // at once, nothing translated, no signal
	CHECK_STR(shown(), "");
	// VMIN and VTIME.
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 1;
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
	char buffer[8];
	int64_t start = check_now_ns();
	CHECK_EQ(read(slave, buffer, 8), 0);
	CHECK(check_now_ns() - start >= 90000000);
	t.c_cc[VTIME] = 0;
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
	CHECK_EQ(read(slave, buffer, 8), 0);
	t.c_cc[VMIN] = 3;
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 3; i++) {
			check_sleep_ms(10);
			type("x");
		}
		check_child_exit();
	}
	CHECK_EQ(read(slave, buffer, 8), 3);
	check_wait(pid);
	CHECK_OK(tcsetattr(slave, TCSANOW, &old));
}

static void sizes(void)
{
	struct winsize size;

	CHECK_OK(ioctl(slave, TIOCGWINSZ, &size));
	CHECK(size.ws_row == 24 && size.ws_col == 80);
	size = (struct winsize){ 40, 132, 0, 0 };
	CHECK_OK(ioctl(master, TIOCSWINSZ, &size));
	memset(&size, 0, sizeof(size));
	CHECK_OK(ioctl(slave, TIOCGWINSZ, &size));
	CHECK(size.ws_row == 40 && size.ws_col == 132);
	CHECK_ERR(ioctl(slave, TIOCGWINSZ, 8), EFAULT);
}

static void names(void)
{
	char name[64] = "";
	struct stat st;

	CHECK_EQ(ttyname_r(slave, name, sizeof(name)), 0);
	CHECK(strncmp(name, "/dev/pts/", 9) == 0);
	CHECK_OK(stat(name, &st));
	CHECK(S_ISCHR(st.st_mode));
	CHECK(isatty(slave) && isatty(master));
	int again = CHECK_OK(open(name, O_RDWR | O_NOCTTY));
	CHECK_EQ(write(again, "x", 1), 1);
	CHECK_STR(shown(), "x");
	close(again);
	unsigned number = 99;
	CHECK_OK(ioctl(master, TIOCGPTN, &number));
	CHECK_EQ(number, (unsigned)atoi(name + 9));
}

static void queues(void)
{
	type("pending input\n");
	CHECK(!quiet());
	CHECK_OK(tcflush(slave, TCIFLUSH));
	CHECK(quiet());
	shown();
	CHECK_OK(fcntl(slave, F_SETFL, O_NONBLOCK));
	char byte;
	CHECK_ERR(read(slave, &byte, 1), EAGAIN);
	CHECK_OK(fcntl(slave, F_SETFL, 0));
	CHECK_OK(tcdrain(slave));
}

static void hang_up(void)
{
	char byte;

	close(slave);
	CHECK_ERR(read(master, &byte, 1), EIO); // nobody has it open
	struct pollfd p = { .fd = master, .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLHUP);
	make();
	close(master);
	CHECK_EQ(read(slave, &byte, 1), 0);
	CHECK_ERR(write(slave, "x", 1), EIO);
	close(slave);
}

int main(void)
{
	make();
	canonical();
	output();
	raw();
	sizes();
	names();
	queues();
	hang_up();
	return check_done();
}
