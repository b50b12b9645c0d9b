// SPDX-License-Identifier: Apache-2.0
// Are extended attributes kept, listed, sized and refused as on Linux?
#include "check.h"
#include <sys/xattr.h>

int main(void)
{
	char value[64] = "", list[256] = "";

	check_tmpdir();
	check_write_file("file", "");
	if (setxattr("file", "user.test", "value", 5, 0) < 0) {
		// Some file systems have none, or only trusted.* and security.* ones.
		CHECK(errno == EOPNOTSUPP);
		CHECK_ERR(getxattr("file", "user.test", value, sizeof(value)), EOPNOTSUPP);
		CHECK(listxattr("file", list, sizeof(list)) >= 0 || errno == EOPNOTSUPP);
		return check_done();
	}
	CHECK_EQ(getxattr("file", "user.test", value, sizeof(value)), 5);
	CHECK(memcmp(value, "value", 5) == 0);
	CHECK_EQ(getxattr("file", "user.test", NULL, 0), 5);
	CHECK_ERR(getxattr("file", "user.test", value, 2), ERANGE);
	CHECK_ERR(getxattr("file", "user.none", value, 2), ENODATA);
	CHECK_ERR(setxattr("file", "user.test", "x", 1, XATTR_CREATE), EEXIST);
	CHECK_ERR(setxattr("file", "user.none", "x", 1, XATTR_REPLACE), ENODATA);
	CHECK_OK(setxattr("file", "user.second", "", 0, XATTR_CREATE));
	ssize_t size = CHECK_OK(listxattr("file", list, sizeof(list)));
	bool first = false, second = false;
	for (ssize_t at = 0; at < size; at += strlen(list + at) + 1) {
		first |= strcmp(list + at, "user.test") == 0;
		second |= strcmp(list + at, "user.second") == 0;
	}
	CHECK(first && second);
	CHECK_ERR(listxattr("file", list, 3), ERANGE);
	CHECK_OK(removexattr("file", "user.test"));
	CHECK_ERR(removexattr("file", "user.test"), ENODATA);
	CHECK_ERR(setxattr("file", "nonsense.x", "x", 1, 0), EOPNOTSUPP);
	CHECK_ERR(setxattr("missing", "user.x", "x", 1, 0), ENOENT);
	int fd = open("file", O_RDWR);
	CHECK_OK(fsetxattr(fd, "user.fd", "abc", 3, 0));
	CHECK_EQ(fgetxattr(fd, "user.fd", value, 64), 3);
	CHECK_OK(fremovexattr(fd, "user.fd"));
	close(fd);
	return check_done();
}
