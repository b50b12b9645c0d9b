// SPDX-License-Identifier: Apache-2.0
// What uname(2) and /proc say the kernel is. The release is the Linux whose behaviour is kept; programs compare it.
#pragma once

#define KERNEL_RELEASE "6.1.0-cloister"
#define KERNEL_VERSION "#1 SMP PREEMPT_DYNAMIC Cloister " CLOISTER_VERSION
