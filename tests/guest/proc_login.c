// SPDX-License-Identifier: Apache-2.0
// Does a process know by which login it came, as pam_loginuid(8) tells it, and do its children?
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>

static unsigned number_of(const char *path)
{
	char text[32] = "";
	int fd = CHECK_OK(open(path, O_RDONLY));

	CHECK(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return (unsigned)strtoul(text, NULL, 10);
}

static unsigned inherited; // session

static void be_child(void)
{
	CHECK_EQ(number_of("/proc/self/loginuid"), 1234);
	CHECK_EQ(number_of("/proc/self/sessionid"), inherited);
}

static void log_in(void)
{
	int fd = CHECK_OK(open("/proc/self/loginuid", O_RDWR));
	unsigned session;

	CHECK_ERR(write(fd, "somebody", 8), EINVAL);
	CHECK_OK(lseek(fd, 0, SEEK_SET));
	CHECK_OK(ftruncate(fd, 0));
	CHECK_EQ(write(fd, "1234", 4), 4);
	CHECK_EQ(number_of("/proc/self/loginuid"), 1234);
	CHECK_OK(truncate("/proc/self/loginuid", 0));
	CHECK_EQ(number_of("/proc/self/loginuid"), 1234);
	session = number_of("/proc/self/sessionid");
	CHECK(session != UINT32_MAX);
	CHECK_EQ(number_of("/proc/thread-self/sessionid"), session);
	inherited = session;
	CHECK_CHILD(be_child);

	// Another login of root's is another session; of others', forbidden.
	CHECK_EQ(pwrite(fd, "1234", 4, 0), 4);
	CHECK(number_of("/proc/self/sessionid") != session);
	CHECK_OK(setuid(1234));
	CHECK_ERR(pwrite(fd, "1235", 4, 0), EPERM);
	close(fd);
}

static void log_in_for_another(void)
{
	int fd = CHECK_OK(open("/proc/1/loginuid", O_WRONLY));

	CHECK_ERR(write(fd, "1234", 4), EPERM);
	close(fd);
}

int main(void)
{
	if (geteuid() != 0)
		CHECK_SKIP("needs root");
	if (number_of("/proc/self/loginuid") != UINT32_MAX)
		CHECK_SKIP("this is a login session");
	CHECK_EQ(number_of("/proc/self/sessionid"), UINT32_MAX);
	CHECK_CHILD(log_in);
	if (getpid() != 1)
		CHECK_CHILD(log_in_for_another);
	return check_done();
}
