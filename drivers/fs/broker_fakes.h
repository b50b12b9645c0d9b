// SPDX-License-Identifier: Apache-2.0
// A broker for unit tests, in the same process: what is sent to it is answered at once, from a directory of the host. Apart from the
// tests because the kernel's headers and libc's do not go together.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void fake_broker_start(void); // a fresh, empty directory as grant 0
void fake_broker_stop(void);
const char *fake_broker_root(void);

// Behind the cell's back.
void fake_host_write(const char *name, const char *text);
void fake_host_mkdir(const char *name);
void fake_host_remove(const char *name);
void fake_host_rename(const char *from, const char *to);
bool fake_host_text(const char *name, char *out, size_t size);

extern unsigned fake_requests;        // in all
extern unsigned fake_requests_of[64]; // by opcode; the broker's own from 56 on
extern bool fake_watches;             // entries are answered with long times to live
extern uint32_t fake_interruptions;   // so many waits end with -EINTR first
extern uint64_t fake_unsupported;     // bits as fake_requests_of: ENOSYS
extern unsigned fake_descriptors;     // that the cell holds
extern bool fake_lose_descriptors;    // answers come with -EMFILE
extern bool fake_incoherent;          // files are opened without BROKER_FOPEN_COHERENT
extern uint64_t fake_window;          // the file that has the one window there is; 0: none
extern unsigned fake_windows_opened;
extern uint32_t fake_pages_absent; // so many transfers find the program's memory not there
// Changes an answer on its way; may be NULL.
extern void (*fake_mangle)(uint32_t opcode, char *answer, size_t *size, bool *with_descriptor);
extern uint64_t mangle_unique;        // of the question being answered
uint64_t fake_node(const char *name); // its number, 0: not known
