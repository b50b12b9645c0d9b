// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include "abi/control.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "port/port.h"

void amd64_log(const char *format, ...)
{
	char line[256];
	va_list arguments;
	va_start(arguments, format);
	int n = fmt_vprint(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (n > (int)sizeof(line) - 1)
		n = sizeof(line) - 1;
	if (n > 0)
		port_log_write(line, (size_t)n);
}

void amd64_refuse(const char *why)
{
	static const char prefix[] = "cloister: ";
	port_log_write(prefix, sizeof(prefix) - 1);
	port_log_write(why, strlen(why));
	port_log_write("\n", 1);
	port_exit(MACHINE_EXIT_BOOT);
}
