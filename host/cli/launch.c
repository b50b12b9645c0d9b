// SPDX-License-Identifier: Apache-2.0
// From a validated cell to an exit status: find the parts, start the file servers and the machine, loop, explain.
#include "cli/launch.h"

#include "base/cleanup.h"
#include "boot/record.h"
#include "cli/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NETWORK_PATIENCE_MS 6000

// ---- parts ----

// Opens `explicit_path`, or the file of the build tree the launcher stands in, or the installed one.
static int open_part(const char *explicit_path, const char *name, const char *option, struct err *e)
{
	char self[PATH_MAX], beside[PATH_MAX];
	const char *candidates[] = { beside, CLOISTER_LIBDIR, "/usr/lib/cloister" };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int fd;

	if (explicit_path) {
		fd = open(explicit_path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			err_set_text(e, EXIT_HOST_MISSING, "%s %s: %s", option, explicit_path, strerror(errno));
		return fd;
	}
	self[n > 0 ? n : 0] = 0;
	if (snprintf(beside, sizeof(beside), "%s/../port/x86", dirname(self)) >= PATH_MAX)
		beside[0] = 0;
	for (size_t i = 0; i < sizeof(candidates) / sizeof(*candidates); i++) {
		cleanup_free char *path = text_format("%s/%s", candidates[i], name);

		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
	}
	err_set_text(e, EXIT_HOST_MISSING, "%s is missing from %s: build it (./dev build) or install cloister", name,
		     CLOISTER_LIBDIR);
	return -1;
}

// A program of ours that is no part of the machine. Valid until the next call; NULL with the error set.
static const char *find_helper(const char *name, struct err *e)
{
	static char path[PATH_MAX];
	const char *directories[] = { NULL, CLOISTER_LIBDIR, "/usr/lib/cloister" };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = 0;
	directories[0] = dirname(self);
	for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++) {
		snprintf(path, sizeof(path), "%s/%s", directories[i], name);
		if (!access(path, X_OK))
			return path;
	}
	err_set_text(e, EXIT_HOST_MISSING, "%s is missing from %s: build it (./dev build) or install cloister", name,
		     CLOISTER_LIBDIR);
	return NULL;
}

// 2>&1: then the cell writes both to one stream, for they must not change their order.
static bool same_file(int a, int b)
{
	struct stat x, y;

	return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino && x.st_rdev == y.st_rdev;
}

static void fill_moment(struct launch *l, struct boot_moment *m)
{
	struct timespec now;

	*m = (struct boot_moment){ .tsc_hz = tsc_frequency(&l->started_tsc) };
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			m->stdin_closed |= 1u << fd;
	m->merged_stderr = same_file(1, 2);
	m->umask = umask(0);
	umask(m->umask);
	if (l->options->cell.tty)
		terminal_size(&m->tty_rows, &m->tty_columns);
	if (getrandom(m->seed, sizeof(m->seed), 0) != sizeof(m->seed))
		abort();
	clock_gettime(CLOCK_REALTIME, &now);
	m->realtime_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// The record, in memory that is nobody's file.
static int make_record(struct launch *l, struct err *e)
{
	cleanup_close int fd = memfd_create("cloister-boot-record", MFD_CLOEXEC);
	struct boot_moment moment;
	struct buffer record = { 0 };
	bool ok;

	fill_moment(l, &moment);
	ok = boot_record_build(&l->options->cell, &moment, &record, e);
	if (ok && (fd < 0 || write(fd, record.data, record.size) != (ssize_t)record.size))
		ok = err_set(e, EXIT_USAGE, "cannot hold the boot record: %s", strerror(errno));
	buffer_fini(&record);
	return ok ? take_fd(fd) : -1;
}

static void choose_accelerator(struct launch *l)
{
	struct accelerator *a = &l->accelerator;

	if (l->options->accelerator == ACCEL_AUTO) {
		accelerator_probe(a);
	} else {
		a->kvm = l->options->accelerator == ACCEL_KVM;
		snprintf(a->why, sizeof(a->why), "%s: --accel says so", a->kvm ? "kvm" : "tcg");
	}
	launch_say(l, "accelerator %s", a->why);
}

// ---- starting ----

static bool start_shares(struct launch *l, struct err *e)
{
	const struct cell *c = &l->options->cell;

	for (size_t i = 0; i < c->mount_count; i++) {
		if (!c->mounts[i].source)
			continue;
		if (!share_start(&l->shares[l->share_count++], &c->mounts[i], e))
			return false;
	}
	return true;
}

static bool start_network(struct launch *l, struct err *e)
{
	const struct net_rules *rules = &l->options->cell.net;
	const char *program;

	if (!rules->count)
		return true;
	launch_say(l, "network: %u grants", rules->count);
	program = find_helper("cloister-vsock", e);
	return program && outside_start(&l->outside, program, rules, e);
}

struct process *launch_helper(struct launch *l, unsigned i)
{
	if (i < l->share_count)
		return &l->shares[i].process;
	return i == l->share_count && l->options->cell.net.count ? &l->outside.process : NULL;
}

// QEMU has them now; as long as we hold ours, virtiofsd does not see QEMU's end.
static void close_helper_sockets(struct launch *l)
{
	if (l->outside.socket >= 0)
		close(l->outside.socket);
	l->outside.socket = -1;
	for (unsigned i = 0; i < l->share_count; i++) {
		if (l->shares[i].socket >= 0)
			close(l->shares[i].socket);
		l->shares[i].socket = -1;
	}
}

static bool start(struct launch *l, struct err *e)
{
	struct run_options *o = l->options;
	cleanup_close int kernel = -1, rom = -1, record = -1;
	struct machine_spec spec = {
		.cell = &o->cell,
		.accelerator = &l->accelerator,
		.shares = l->shares,
		.gdb_socket = o->gdb_socket,
	};

	if (!machine_check_installed(e) || !share_check_installed(e))
		return false;
	kernel = open_part(o->kernel_path, "cloister.img", "--kernel", e);
	if (kernel < 0)
		return false;
	rom = open_part(o->rom_path, "rom.bin", "--rom", e);
	if (rom < 0 || !start_network(l, e) || !start_shares(l, e))
		return false;
	choose_accelerator(l);
	record = make_record(l, e);
	if (record < 0)
		return false;
	spec.kernel_fd = kernel;
	spec.rom_fd = rom;
	spec.record_fd = record;
	spec.share_count = l->share_count;
	spec.vsock_fd = l->outside.socket;
	if (!machine_start(&l->machine, &spec, e))
		return false;
	close_helper_sockets(l);
	launch_say(l, "machine started");
	return true;
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
	const struct process *p = &l->machine.process;
	int code = WIFEXITED(p->status) ? WEXITSTATUS(p->status) : -1;
	const char *words;

	if (!l->options->cell.verbose && l->log.size)
		fwrite(l->log.data, 1, l->log.size, stderr);
	words = kernel_last_words(l);
	if (code == (MACHINE_EXIT_PANIC << 1 | 1))
		return err_set(e, EXIT_CELL_CRASHED, "the cell's kernel panicked%s%s", words ? ": " : "",
			       words ? words : "");
	if (code == (MACHINE_EXIT_BOOT << 1 | 1))
		return err_set(e, EXIT_CELL_CRASHED, "the cell's kernel refused to start%s",
			       l->log.size ? "; it says why above" : "");
	if (code == 0 || code == (MACHINE_EXIT_DONE << 1 | 1))
		return err_set(e, EXIT_CELL_CRASHED,
			       "the cell ended without saying how (a triple fault of its kernel?)");
	if (strstr(process_last_words(p), "annot allocate memory") || strstr(process_last_words(p), "out of memory"))
		return err_set(e, EXIT_RESOURCES, "the host has not enough memory for the cell (--memory): %s",
			       process_last_words(p));
	return err_set(e, EXIT_CELL_CRASHED, "qemu ended %s: %s", process_how_it_ended(p), process_last_words(p));
}

static bool explain(struct launch *l, int *exit_status, struct err *e)
{
	if (l->start_failed)
		return err_set(e, l->start_error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, "%s", l->start_text);
	if (l->exit_known) {
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
		return err_set(e, EXIT_CELL_CRASHED, "%s ended %s: %s", l->dead_child->what,
			       process_how_it_ended(l->dead_child), process_last_words(l->dead_child));
	return explain_machine(l, e);
}

static void launch_init(struct launch *l)
{
	l->started_ns = monotonic_ns();
	tsc_sample_take(&l->started_tsc);
	l->control.fd = -1;
	l->machine.process.stderr_fd = -1;
	l->outside = (struct outside){ .socket = -1, .process.stderr_fd = -1 };
	for (int s = 0; s < STREAM_COUNT; s++)
		l->machine.streams[s] = -1;
	for (unsigned i = 0; i < CELL_MOUNTS_MAX; i++)
		l->shares[i] = (struct share){ .socket = -1, .process.stderr_fd = -1 };
}

bool launch_run(struct launch *l, int *exit_status, struct err *e)
{
	struct cell *c = &l->options->cell;
	cleanup_close int signals = -1;

	launch_init(l);
	if (c->port == CELL_PORT_HOSTED)
		return err_set(e, EXIT_USAGE, "--port hosted: this version has only the qemu port");
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
	process_kill(&l->machine.process);
	// It passes on what the cell has sent before it ended.
	if (l->exit_known && !l->stopping)
		process_wait(&l->outside.process, NETWORK_PATIENCE_MS);
	process_kill(&l->outside.process);
	for (unsigned i = 0; i < CELL_MOUNTS_MAX; i++)
		process_kill(&l->shares[i].process);
	close_helper_sockets(l);
	for (int s = 0; s < STREAM_COUNT; s++) {
		if (l->machine.streams[s] >= 0)
			close(l->machine.streams[s]);
		l->machine.streams[s] = -1;
	}
	free(take_pointer(l->input));
	free(take_pointer(l->output));
	free(take_pointer(l->error));
	buffer_fini(&l->control.in);
	buffer_fini(&l->control.out);
	buffer_fini(&l->log);
}
