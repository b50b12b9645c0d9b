// SPDX-License-Identifier: Apache-2.0
#pragma once

// Finds out whether a debug console is there. Position-independent.
void x86_log_early_init(void);
