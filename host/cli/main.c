// SPDX-License-Identifier: Apache-2.0
// cloister: the launcher. One verb a function; each returns the exit status.
#include "cli/launch.h"
#include "cli/options.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: cloister run [OPTIONS] [--] PROGRAM [ARGS...]   run a program in a cell (cloister run --help)\n"
	"       cloister version                                print the version\n"
	"       cloister --help                                 this text; see also cloister(1)\n";

static int complain(const struct err *e)
{
	fprintf(stderr, "cloister: %s\n", e->text);
	return e->exit_status;
}

static int verb_run(int argc, char **argv)
{
	struct run_options options = { 0 };
	static struct launch launch;
	struct err error = { 0 };
	int status = 0;
	bool help = false, ok;

	cell_init(&options.cell);
	ok = run_options_parse(argc, argv, &options, &help, &error);
	if (ok && help) {
		fputs(run_usage, stdout);
	} else if (ok) {
		launch.options = &options;
		ok = launch_run(&launch, &status, &error);
		launch_fini(&launch);
	}
	if (!ok)
		status = complain(&error);
	cell_fini(&options.cell);
	return status;
}

static int verb_version(void)
{
	puts("cloister " CLOISTER_VERSION);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "run"))
		return verb_run(argc - 1, argv + 1);
	if (!strcmp(verb, "version") || !strcmp(verb, "--version"))
		return verb_version();
	if (!strcmp(verb, "--help") || !strcmp(verb, "-h") || !strcmp(verb, "help")) {
		fputs(usage, stdout);
		return 0;
	}
	if (*verb)
		fprintf(stderr, "cloister: unknown command '%s' (cloister --help)\n", verb);
	else
		fputs("cloister: no command given (cloister --help)\n", stderr);
	return EXIT_USAGE;
}
