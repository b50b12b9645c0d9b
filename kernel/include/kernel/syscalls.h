// SPDX-License-Identifier: Apache-2.0
// Prototypes of all system calls, from kernel/syscall/syscalls.def. Files that define sys_NAME include this.
#pragma once

#include "kernel/types.h"

#define SYSCALL_FULL(name, arguments)    long sys_##name arguments;
#define SYSCALL_PARTIAL(name, arguments) long sys_##name arguments;
#define SYSCALL_STUB(name, arguments)    long sys_##name arguments;
#define SYSCALL_NONE(name, arguments)
#define SYSCALL(number, name, status, arguments, note) SYSCALL_##status(name, arguments)
#include "../../syscall/syscalls.def"
#undef SYSCALL
#undef SYSCALL_FULL
#undef SYSCALL_PARTIAL
#undef SYSCALL_STUB
#undef SYSCALL_NONE
