// SPDX-License-Identifier: Apache-2.0
// Does sched_setparam change the priority and leave policy and flags alone?
#include "check.h"
#include <sched.h>

static void keeps(int policy)
{
	struct sched_param param = { 0 };

	CHECK_OK(sched_setscheduler(0, policy, &param));
	CHECK_EQ(sched_getscheduler(0), policy);
	CHECK_OK(sched_setparam(0, &param));
	CHECK_EQ(sched_getscheduler(0), policy);
}

int main(void)
{
	keeps(SCHED_OTHER);
	keeps(SCHED_BATCH);
	keeps(SCHED_BATCH | SCHED_RESET_ON_FORK);
	return check_done();
}
