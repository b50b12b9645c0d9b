// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void err_set_text(struct err *e, int exit_status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(e->text, sizeof(e->text), format, arguments);
	va_end(arguments);
	e->exit_status = exit_status;
}

void err_wrap_text(struct err *e, const char *format, ...)
{
	char cause[sizeof(e->text)];
	va_list arguments;
	int used;

	memcpy(cause, e->text, sizeof(cause));
	va_start(arguments, format);
	used = vsnprintf(e->text, sizeof(e->text), format, arguments);
	va_end(arguments);
	if (used >= 0 && (size_t)used < sizeof(e->text))
		snprintf(e->text + used, sizeof(e->text) - (size_t)used, ": %s", cause);
}
