// SPDX-License-Identifier: Apache-2.0
// Options override the manifest, whatever their order: the manifest is read first, then they are applied.
#include "cli/options.h"

#include "base/cleanup.h"
#include "manifest/manifest.h"
#include "manifest/program.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

const char run_usage[] =
	"usage: cloister run [OPTIONS] [--] PROGRAM [ARGS...]\n"
	"\n"
	"Runs PROGRAM in a cell of its own: a kernel, in a virtual machine or in a confined process, and what is granted here,\n"
	"and nothing else.\n"
	"Without a manifest: the host's files read-only, a private writable /tmp, no network.\n"
	"\n"
	"  -m, --manifest FILE       take program and grants from FILE (TOML; see docs/manifest.md)\n"
	"      --mount SRC:DST[:rw]  grant the host directory SRC as DST, read-only unless rw\n"
	"  -e, --env NAME[=VALUE]    set an environment variable, or pass the caller's on\n"
	"  -w, --workdir DIR         start in DIR (default: the current directory where the cell has it, else /)\n"
	"      --cpus N              CPUs of the cell (default: port qemu 1, port hosted all of the caller's)\n"
	"      --memory SIZE         memory of the cell, such as 512M or 4G (default 2G)\n"
	"  -u, --user UID[:GID]      run as this user (default: the caller)\n"
	"      --hostname NAME       host name in the cell (default cloister)\n"
	"      --connect RULE        let the cell connect to tcp:HOST:PORT or udp:HOST:PORT of the outside (docs/network.md)\n"
	"  -p, --publish [IP:]PORT:CELLPORT[/udp]\n"
	"                            let the outside connect to a port of the cell\n"
	"      --net none            no network to the outside, whatever the manifest grants\n"
	"      --port PORT           what the cell stands on: auto, hosted (a confined process) or qemu (default auto: hosted)\n"
	"      --no-pkeys            leave the kernel's memory open to the program's stray accesses (port hosted)\n"
	"  -t, --tty / -T, --no-tty  give the cell a terminal or three plain streams (default: a terminal when all\n"
	"                            three streams are the same one)\n"
	"      --trace               print the program's system calls on standard error\n"
	"  -v, --verbose             say what is chosen, show the kernel's log and a summary at the end\n"
	"  -h, --help                this text\n"
	"\n"
	"For developers: --accel auto|tcg|kvm, --kernel FILE, --rom FILE, --gdb SOCKET, --leak-check, --no-aslr.\n"
	"Exit status: the program's (128 + N when signal N ended it), or 121-127; see cloister(1).\n";

enum {
	OPTION_MOUNT = 256,
	OPTION_CPUS,
	OPTION_MEMORY,
	OPTION_HOSTNAME,
	OPTION_CONNECT,
	OPTION_NET,
	OPTION_PORT,
	OPTION_TRACE,
	OPTION_ACCEL,
	OPTION_KERNEL,
	OPTION_ROM,
	OPTION_GDB,
	OPTION_LEAK_CHECK,
	OPTION_NO_ASLR,
	OPTION_NO_PKEYS,
};

static const struct option long_options[] = {
	{ "manifest", required_argument, NULL, 'm' },
	{ "mount", required_argument, NULL, OPTION_MOUNT },
	{ "env", required_argument, NULL, 'e' },
	{ "workdir", required_argument, NULL, 'w' },
	{ "cpus", required_argument, NULL, OPTION_CPUS },
	{ "memory", required_argument, NULL, OPTION_MEMORY },
	{ "user", required_argument, NULL, 'u' },
	{ "hostname", required_argument, NULL, OPTION_HOSTNAME },
	{ "connect", required_argument, NULL, OPTION_CONNECT },
	{ "publish", required_argument, NULL, 'p' },
	{ "net", required_argument, NULL, OPTION_NET },
	{ "port", required_argument, NULL, OPTION_PORT },
	{ "tty", no_argument, NULL, 't' },
	{ "no-tty", no_argument, NULL, 'T' },
	{ "trace", no_argument, NULL, OPTION_TRACE },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "accel", required_argument, NULL, OPTION_ACCEL },
	{ "kernel", required_argument, NULL, OPTION_KERNEL },
	{ "rom", required_argument, NULL, OPTION_ROM },
	{ "gdb", required_argument, NULL, OPTION_GDB },
	{ "leak-check", no_argument, NULL, OPTION_LEAK_CHECK },
	{ "no-aslr", no_argument, NULL, OPTION_NO_ASLR },
	{ "no-pkeys", no_argument, NULL, OPTION_NO_PKEYS },
	{ 0 },
};
static const char short_options[] = "+:m:e:w:u:p:tTvh";

static bool set_variable(struct cell *c, const char *text, struct err *e)
{
	cleanup_free char *name = text_format("%.*s", (int)strcspn(text, "="), text);

	if (!*name)
		return err_set(e, EXIT_USAGE, "--env '%s': want NAME=VALUE or NAME", text);
	if (strchr(text, '='))
		strings_set_variable(&c->envp, name, strchr(text, '=') + 1);
	else if (getenv(name))
		strings_set_variable(&c->envp, name, getenv(name));
	return true;
}

// The index of `text` in a NULL-terminated list of words; EXIT_USAGE when it is none of them.
static bool pick(const char *option, const char *text, const char *const *words, int *out, struct err *e)
{
	for (*out = 0; words[*out]; ++*out)
		if (!strcmp(words[*out], text))
			return true;
	return err_set(e, EXIT_USAGE, "%s '%s': want %s, %s or %s", option, text, words[0], words[1], words[2]);
}

static bool set_cpus(struct cell *c, const char *text, struct err *e)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value > UINT_MAX)
		return err_set(e, EXIT_USAGE, "--cpus '%s': want a number", text);
	if (!value) // would mean the default
		return err_set(e, EXIT_RESOURCES, "0 CPUs: a cell takes 1 to %u (--cpus)", CELL_CPUS_MAX);
	c->cpus = (unsigned)value;
	return true;
}

static bool replace_text(char **place, const char *text)
{
	free(*place);
	*place = text_copy(text);
	return true;
}

static bool take_port(struct cell *c, const char *text, struct err *e)
{
	static const char *const names[] = { "auto", "qemu", "hosted", NULL };
	int port;

	if (!pick("--port", text, names, &port, e))
		return false;
	c->port = (enum cell_port)port;
	return true;
}

static bool take_accelerator(struct run_options *o, const char *text, struct err *e)
{
	static const char *const names[] = { "auto", "tcg", "kvm", NULL };
	int accelerator;

	if (!pick("--accel", text, names, &accelerator, e))
		return false;
	o->accelerator = (enum machine_accelerator)accelerator;
	return true;
}

static bool take_hostname(struct cell *c, const char *text, struct err *e)
{
	if (strlen(text) > 64)
		return err_set(e, EXIT_USAGE, "--hostname '%s': longer than 64 bytes", text);
	return replace_text(&c->hostname, text);
}

// Takes away what the manifest and options before it granted.
static bool take_net(struct cell *c, const char *text, struct err *e)
{
	if (strcmp(text, "none"))
		return err_set(e, EXIT_USAGE, "--net '%s': want none (grants are --connect and --publish)", text);
	c->net.count = 0;
	return true;
}

static bool take_option(struct run_options *o, int option, char *value, struct err *e)
{
	struct cell *c = &o->cell;

	switch (option) {
	case 'm':
	case 'h': return true; // taken before
	case OPTION_MOUNT: return cell_mount_parse(c, value, e);
	case 'e': return set_variable(c, value, e);
	case 'w': return replace_text(&c->workdir, value);
	case OPTION_CPUS: return set_cpus(c, value, e);
	case OPTION_MEMORY:
		return size_parse(value, &c->memory_bytes) ||
		       err_set(e, EXIT_USAGE, "--memory '%s': want a size such as 512M or 4G", value);
	case 'u': return cell_user_parse(c, value, e);
	case OPTION_HOSTNAME: return take_hostname(c, value, e);
	case OPTION_CONNECT: return net_rules_add_connect(&c->net, value, e);
	case 'p': return net_rules_add_publish(&c->net, value, e);
	case OPTION_NET: return take_net(c, value, e);
	case OPTION_PORT: return take_port(c, value, e);
	case OPTION_ACCEL: return take_accelerator(o, value, e);
	case 't': c->tty_mode = CELL_TTY_YES; return true;
	case 'T': c->tty_mode = CELL_TTY_NO; return true;
	case OPTION_TRACE: c->trace = true; return true;
	case 'v': c->verbose = true; return true;
	case OPTION_LEAK_CHECK: c->leak_check = true; return true;
	case OPTION_NO_ASLR: c->no_aslr = true; return true;
	case OPTION_NO_PKEYS: c->no_pkeys = true; return true;
	case OPTION_KERNEL: o->kernel_path = value; return true;
	case OPTION_ROM: o->rom_path = value; return true;
	case OPTION_GDB: o->gdb_socket = value; return true;
	}
	return false;
}

// First pass: the manifest's name and --help, and whether every option exists.
static bool scan(int argc, char **argv, const char **manifest, bool *help, struct err *e)
{
	int option;

	optind = 1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
		if (option == 'm')
			*manifest = optarg;
		if (option == 'h') {
			*help = true;
			return true;
		}
		if (option == '?')
			return err_set(e, EXIT_USAGE, "unknown option '%s' (cloister run --help)", argv[optind - 1]);
		if (option == ':')
			return err_set(e, EXIT_USAGE, "option '%s' needs a value (cloister run --help)",
				       argv[optind - 1]);
	}
	return true;
}

static bool apply(int argc, char **argv, struct run_options *o, struct err *e)
{
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
		if (!take_option(o, option, optarg, e))
			return false;
	return true;
}

static void take_program(struct cell *c, char **words)
{
	if (!*words)
		return;
	replace_text(&c->program, *words);
	strings_fini(&c->argv);
	for (; *words; words++)
		strings_add(&c->argv, *words);
}

// Where the caller stands, if the cell has that directory.
static void default_workdir(struct cell *c)
{
	cleanup_free char *current = getcwd(NULL, 0);
	char host[PATH_MAX];
	struct stat here, there;

	if (!current || !cell_path_resolve(c, current, host) || stat(current, &here) || stat(host, &there))
		return;
	if (here.st_dev == there.st_dev && here.st_ino == there.st_ino)
		c->workdir = text_copy(current);
}

static bool check_workdir(const struct cell *c, struct err *e)
{
	char host[PATH_MAX];
	struct stat status;

	if (!cell_path_resolve(c, c->workdir, host))
		return true; // a tree that only the kernel knows
	if (stat(host, &status) || S_ISDIR(status.st_mode))
		return true;
	return err_set(e, EXIT_USAGE, "working directory '%s' is not a directory", c->workdir);
}

bool run_options_parse(int argc, char **argv, struct run_options *o, bool *help, struct err *e)
{
	const char *manifest = NULL;
	struct cell *c = &o->cell;

	if (!scan(argc, argv, &manifest, help, e) || *help)
		return *help;
	if (manifest) {
		if (!manifest_load(c, manifest, e))
			return false;
		for (char **v = environ; c->host_environment && *v; v++) {
			cleanup_free char *name = text_format("%.*s", (int)strcspn(*v, "="), *v);

			if (strchr(*v, '=') && !strings_get_variable(&c->envp, name))
				strings_add(&c->envp, *v);
		}
	} else {
		cell_environment_defaults(c);
	}
	if (!apply(argc, argv, o, e))
		return false;
	take_program(c, argv + optind);
	if ((!manifest && !cell_grant_defaults(c, e)) || !cell_grant_kernel_trees(c, e))
		return false;
	if (!manifest && !c->workdir)
		default_workdir(c);
	return cell_validate(c, e) && check_workdir(c, e) && cell_program_check(c, e);
}
