// SPDX-License-Identifier: Apache-2.0
#include "base/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void machine_init(struct machine *m, const struct machine_kind *kind)
{
	*m = (struct machine){ .kind = kind, .process.stderr_fd = -1, .notice = -1 };
	for (int s = 0; s < STREAM_COUNT; s++)
		m->streams[s] = -1;
}

void machine_close_streams(struct machine *m)
{
	for (int s = 0; s < STREAM_COUNT; s++) {
		if (m->streams[s] >= 0)
			close(m->streams[s]);
		m->streams[s] = -1;
	}
}

void machine_say(const struct machine_spec *spec, const char *format, ...)
{
	char text[512];
	va_list arguments;

	if (!spec->say)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	spec->say(spec->say_context, text);
}

bool machine_stream_used(bool tty, enum machine_stream s)
{
	if (s == STREAM_CONTROL || s == STREAM_LOG)
		return true;
	return tty == (s == STREAM_TTY);
}
