// SPDX-License-Identifier: Apache-2.0
// Classic BPF, as much as seccomp filters may use. The program is checked once, then run without further checks.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "kernel/types.h"

// 0, or -EINVAL: an instruction that filters do not have, a jump out of the program, a load outside struct seccomp_data or of
// scratch memory that is not written on every way there, a division by zero, no return at the end. scratch: `count` words for its use.
int must_check bpf_check(const struct sock_filter *program, unsigned count, uint16_t *scratch);
// What a checked program returns. It ends: jumps go forward only.
uint32_t bpf_run(const struct sock_filter *program, const struct seccomp_data *data);
