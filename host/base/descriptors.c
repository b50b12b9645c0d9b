// SPDX-License-Identifier: Apache-2.0
// A table grows to hold the highest number that was ever used in it, and never shrinks.
#include "base/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

void descriptors_widen(int fd, unsigned count)
{
	struct rlimit limit;
	int last;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	last = fcntl(fd, F_DUPFD_CLOEXEC, (int)(limit.rlim_cur < count ? limit.rlim_cur : count) - 1);
	if (last >= 0)
		close(last);
}
