// SPDX-License-Identifier: Apache-2.0
// From a validated cell to an exit status: find the parts, start the file servers and the machine, loop, explain.
#include "cli/launch.h"

#include "base/cleanup.h"
#include "boot/record.h"
#include "cli/terminal.h"
#include "hosted/machine.h"
#include "qemu/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// What a cell runs on when nobody says it.
#define PORT_DEFAULT CELL_PORT_HOSTED

// 2>&1: then the cell writes both to one stream, for they must not change their order.
static bool same_file(int a, int b)
{
	struct stat x, y;

	return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino && x.st_rdev == y.st_rdev;
}

static void fill_moment(struct launch *l, const struct tsc_rate *tsc, struct boot_moment *m)
{
	struct timespec now;

	*m = (struct boot_moment){ .tsc_hz = tsc->hz, .tree_type = l->machine.kind->tree_type };
	m->stdin_closed = l->closed_streams;
	m->merged_stderr = !(l->closed_streams & 6) && same_file(1, 2);
	m->umask = umask(0);
	umask(m->umask);
	if (l->options->cell.tty)
		terminal_size(&m->tty_rows, &m->tty_columns);
	if (getrandom(m->seed, sizeof(m->seed), 0) != sizeof(m->seed))
		abort();
	clock_gettime(CLOCK_REALTIME, &now);
	m->realtime_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// ---- starting ----

static void say_line(void *context, const char *text) { launch_say(context, "%s", text); }

static bool start(struct launch *l, struct err *e)
{
	struct run_options *o = l->options;
	struct buffer record = { 0 };
	struct boot_moment moment;
	struct tsc_rate tsc;
	struct machine_spec spec = {
		.cell = &o->cell,
		.kernel_path = o->kernel_path,
		.rom_path = o->rom_path,
		.gdb_socket = o->gdb_socket,
		.accelerator = o->accelerator,
		.record = &record,
		.tsc = &tsc,
		.say = say_line,
		.say_context = l,
	};
	bool ok;

	if (!l->machine.kind->prepare(&l->machine, &spec, e))
		return false;
	tsc_rate_find(&l->started_tsc, &tsc);
	fill_moment(l, &tsc, &moment);
	ok = boot_record_build(&o->cell, &moment, &record, e) && l->machine.kind->start(&l->machine, &spec, e);
	buffer_fini(&record);
	if (ok)
		launch_say(l, "machine started on port %s", l->machine.kind->name);
	return ok;
}

static struct relay *make_relay(int from, int to, uint64_t credit, bool to_blocks)
{
	struct relay *r = malloc(sizeof(*r));

	if (!r)
		abort();
	relay_init(r, from, to, credit, to_blocks);
	return r;
}

static void connect_streams(struct launch *l)
{
	const int *s = l->machine.streams;

	l->control.fd = s[STREAM_CONTROL];
	if (l->options->cell.tty) {
		l->input = make_relay(0, s[STREAM_TTY], RELAY_UNLIMITED, false);
		l->output = make_relay(s[STREAM_TTY], 1, RELAY_UNLIMITED, true);
		return;
	}
	l->input = make_relay(0, s[STREAM_STDIN], 0, false);
	l->output = make_relay(s[STREAM_STDOUT], 1, RELAY_UNLIMITED, true);
	l->error = make_relay(s[STREAM_STDERR], 2, RELAY_UNLIMITED, true);
}

static int take_signals(void)
{
	static const int taken[] = { SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGUSR1,
				     SIGUSR2, SIGALRM, SIGWINCH, SIGCHLD, SIGCONT };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
		sigaddset(&set, taken[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// ---- the end ----

// The last line the kernel said that tells of a panic, else the last line.
static const char *kernel_last_words(struct launch *l)
{
	static char line[256];
	char *text, *found;

	buffer_append(&l->log, "", 1);
	text = l->log.data;
	found = strstr(text, "panic");
	if (!found)
		return NULL;
	while (found > text && found[-1] != '\n')
		found--;
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(found, "\r\n"), found);
	return line;
}

static bool explain_machine(struct launch *l, struct err *e)
{
	enum machine_end how = l->machine.kind->end(&l->machine);
	const char *words = kernel_last_words(l);

	if (how == MACHINE_BROKEN)
		l->machine.kind->explain(&l->machine, e);
	// Of one that was killed there is nothing to learn.
	if (!l->options->cell.verbose && l->log.size && (how != MACHINE_BROKEN || e->exit_status != EXIT_CELL_KILLED))
		fwrite(l->log.data, 1, l->log.size, stderr);
	switch (how) {
	case MACHINE_PANIC:
		return err_set(e, EXIT_CELL_CRASHED, "the cell's kernel panicked%s%s", words ? ": " : "",
			       words ? words : "");
	case MACHINE_REFUSED:
		return err_set(e, EXIT_CELL_CRASHED, "the cell's kernel refused to start%s",
			       l->log.size ? "; it says why above" : "");
	case MACHINE_DONE:
		return err_set(e, EXIT_CELL_CRASHED,
			       "the cell ended without saying how (a triple fault of its kernel?)");
	case MACHINE_BROKEN: break;
	}
	return false;
}

static bool explain(struct launch *l, int *exit_status, struct err *e)
{
	const bool killed = l->machine.kind->killed && l->machine.kind->killed(&l->machine);

	if (l->start_failed)
		return err_set(e, l->start_error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, "%s", l->start_text);
	if (l->exit_known && !killed) {
		*exit_status =
			WIFSIGNALED(l->wait_status) ? 128 + WTERMSIG(l->wait_status) : WEXITSTATUS(l->wait_status);
		return true;
	}
	if (l->stopping) {
		*exit_status = 128 + l->stop_signal;
		return true;
	}
	if (l->nonsense)
		return err_set(e, EXIT_CELL_CRASHED, "the cell's kernel sent nonsense on the control channel");
	// One that ended well followed its machine.
	if (l->dead_child && (l->dead_child->status || l->machine.process.pid))
		return err_set(e, killed ? EXIT_CELL_KILLED : EXIT_CELL_CRASHED, "%s ended %s: %s", l->dead_child->what,
			       process_how_it_ended(l->dead_child), process_last_words(l->dead_child));
	return explain_machine(l, e);
}

// Notes which of the standard streams are closed, and fills their places: what is opened from now on must not land there.
static unsigned fill_closed_streams(void)
{
	unsigned closed = 0;

	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			closed |= 1u << fd;
	for (int fd = 0; fd < 3; fd++)
		if (closed >> fd & 1 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) < 0)
			return closed;
	return closed;
}

static const struct machine_kind *choose_kind(const struct launch *l)
{
	enum cell_port port = l->options->cell.port;

	if (port == CELL_PORT_AUTO)
		port = PORT_DEFAULT;
	return port == CELL_PORT_HOSTED ? &hosted_machine_kind : &qemu_machine_kind;
}

static void launch_init(struct launch *l)
{
	l->started_ns = monotonic_ns();
	tsc_sample_take(&l->started_tsc, CLOCK_MONOTONIC_RAW);
	l->control.fd = -1;
	l->closed_streams = fill_closed_streams();
	machine_init(&l->machine, choose_kind(l));
}

bool launch_run(struct launch *l, int *exit_status, struct err *e)
{
	struct cell *c = &l->options->cell;
	cleanup_close int signals = -1;

	launch_init(l);
	if (c->tty_mode == CELL_TTY_YES && !isatty(0))
		return err_set(e, EXIT_USAGE, "--tty: standard input is not a terminal");
	c->tty = c->tty_mode == CELL_TTY_YES || (c->tty_mode == CELL_TTY_AUTO && terminal_is_all_streams());
	signals = take_signals();
	if (signals < 0)
		return err_set(e, EXIT_USAGE, "signalfd: %s", strerror(errno));
	if (!start(l, e))
		return false;
	connect_streams(l);
	if (!launch_loop(l, signals, e))
		return false;
	terminal_restore();
	return explain(l, exit_status, e);
}

void launch_fini(struct launch *l)
{
	terminal_restore();
	l->machine.kind->stop(&l->machine, l->exit_known && !l->stopping);
	free(take_pointer(l->input));
	free(take_pointer(l->output));
	free(take_pointer(l->error));
	buffer_fini(&l->control.in);
	buffer_fini(&l->control.out);
	buffer_fini(&l->log);
}
