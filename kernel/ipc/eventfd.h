// SPDX-License-Identifier: Apache-2.0
// Eventfds as the kernel tells them things.
#pragma once

#include "lib/compiler.h"

struct file;

bool file_is_eventfd(const struct file *f);
// Adds 1; a counter that is full stays so. `f` is an eventfd. Task context, no spinlock held.
void eventfd_signal(struct file *f);
