// SPDX-License-Identifier: Apache-2.0
// Interpreter scripts: the #! line. execve(2), "Interpreter scripts": one optional argument, white space around both is
// dropped, white space inside the argument stays.
#include "exec.h"

#include "lib/string.h"

#define LINE_MAX 256u // of which Linux looks at no more (BINPRM_BUF_SIZE)

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

int exec_script_parse(char *head, size_t size, char **interpreter, char **argument)
{
	size = min(size, LINE_MAX);
	if (size < 2 || head[0] != '#' || head[1] != '!')
		return -ENOEXEC;
	char *end = memchr(head, '\n', size), *p = head + 2;
	bool whole = end || size < LINE_MAX;
	if (!end)
		end = head + size;
	while (p < end && is_blank(*p))
		p++;
	char *name = p;
	while (p < end && !is_blank(*p) && *p)
		p++;
	// A name that may have been cut would name another program.
	if (p == name || (p == end && !whole))
		return -ENOEXEC;
	char *name_end = p;
	while (p < end && is_blank(*p))
		p++;
	while (end > p && is_blank(end[-1]))
		end--;
	*argument = NULL;
	if (p < end && *p) {
		*argument = p;
		if (end == head + LINE_MAX)
			end--; // the last byte of a cut argument gives way to its NUL
		*end = '\0';
	}
	*name_end = '\0';
	*interpreter = name;
	return 0;
}
