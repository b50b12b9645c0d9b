// SPDX-License-Identifier: Apache-2.0
// Early console: QEMU's isa-debugcon, when it is there; writing to a port nobody listens to would cost as much.
// And the end of the machine: QEMU's isa-debug-exit.
#include "log.h"

#include "cpu.h"
#include "io.h"

static bool console_present;

void x86_log_early_init(void) { console_present = in8(PORT_DEBUGCON) == PORT_DEBUGCON; }

void port_log_write(const char *text, size_t size)
{
	if (!console_present)
		return;
	__asm__ volatile("rep outsb" : "+S"(text), "+c"(size) : "d"((uint16_t)PORT_DEBUGCON) : "memory");
}

void port_exit(unsigned status)
{
	out32(PORT_DEBUG_EXIT, status);
	// No such device: a fault without handlers resets the machine, which -no-reboot turns into its end.
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = { 0, 0 };
	__asm__ volatile("lidt %0; int3" : : "m"(none));
	for (;;)
		__asm__ volatile("cli; hlt");
}
