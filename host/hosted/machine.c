// SPDX-License-Identifier: Apache-2.0
#include "hosted/machine.h"

#include "abi/control.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/part.h"
#include "base/tsc.h"
#include "hosted/cgroup.h"
#include "hosted/image.h"
#include "hosted/supervisor.h"
#include "net/published.h"
#include "net/server.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KERNEL_PARTS     "port/hosted"
#define KERNEL_NAME      "cloister-hosted.img"
#define STOP_PATIENCE_MS 1000
#define HOST_CPUS_MAX    8192
#define STACKS_MAX_BYTES (UINT64_C(1) << 30) // port/hosted/layout.h
#define TASKS_BESIDE     16u                 // of the cell's control group: supervisor, broker, network
#define FLUSH_MS         5000

struct hosted_machine {
	struct image image;
	int image_fd;
	void *file;
	struct loader_spec loader;
	struct supervisor supervisor;
	struct supervisor_report *report; // shared with the supervisor
	struct cgroup cgroup;
	struct process network; // serves the network grants, where there are any
	struct network_spec network_spec;
};

// ---- prepare ----

static bool check_host(struct err *e)
{
	unsigned action = SECCOMP_RET_TRAP;

	if (!syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action))
		return true;
	return err_set(
		e, EXIT_HOST_MISSING,
		"port hosted needs seccomp filters, which this host's kernel does not have (%s): use --port qemu",
		strerror(errno));
}

static bool load_image(struct hosted_machine *h, const char *path, struct err *e)
{
	struct stat status;
	const char *why;

	h->image_fd = part_open(path, "--kernel", KERNEL_PARTS, KERNEL_NAME, e);
	if (h->image_fd < 0)
		return false;
	if (fstat(h->image_fd, &status))
		return err_set(e, EXIT_HOST_MISSING, "the kernel image: %s", strerror(errno));
	if (!S_ISREG(status.st_mode) || status.st_size <= 0 || status.st_size > (off_t)IMAGE_MAX_BYTES)
		return err_set(e, EXIT_HOST_MISSING, "%s is no kernel of port hosted: no file of a sensible size",
			       path ? path : KERNEL_NAME);
	h->file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, h->image_fd, 0);
	if (h->file == MAP_FAILED) {
		h->file = NULL;
		return err_set(e, EXIT_HOST_MISSING, "the kernel image: %s", strerror(errno));
	}
	why = image_parse(h->file, (size_t)status.st_size, &h->image);
	if (why)
		return err_set(e, EXIT_HOST_MISSING, "%s is no kernel of port hosted: %s", path ? path : KERNEL_NAME,
			       why);
	return true;
}

static bool prepare(struct machine *m, const struct machine_spec *spec, struct err *e)
{
	struct hosted_machine *h = m->private = calloc(1, sizeof(*h));

	if (!h)
		abort();
	h->image_fd = -1;
	h->network.stderr_fd = -1;
	cgroup_init(&h->cgroup);
	h->loader.stop = spec->gdb_socket != NULL;
	return check_host(e) && load_image(h, spec->kernel_path, e);
}

// ---- what the kernel is given ----

// The cell's CPUs: `wanted` of those the caller may use, 0: all of them. Fewer than there are: neighbours, from a random
// place on, so that cells spread, and the caller keeps to them. More: the host's are given again and again.
static bool choose_cpus(struct loader_spec *l, unsigned wanted, struct err *e)
{
	cpu_set_t *set = CPU_ALLOC(HOST_CPUS_MAX);
	const size_t bytes = CPU_ALLOC_SIZE(HOST_CPUS_MAX);
	uint16_t host[HOSTED_CPUS_MAX];
	unsigned count = 0, first = 0;

	if (!set || sched_getaffinity(0, bytes, set)) {
		CPU_FREE(set);
		return err_set(e, EXIT_RESOURCES, "cannot find out about the host's CPUs: %s", strerror(errno));
	}
	for (unsigned i = 0; i < HOST_CPUS_MAX && count < HOSTED_CPUS_MAX; i++)
		if (CPU_ISSET_S(i, bytes, set))
			host[count++] = (uint16_t)i;
	CPU_FREE(set);
	l->cpu_count = wanted ? wanted : count > CELL_CPUS_MAX ? CELL_CPUS_MAX : count;
	if (l->cpu_count < count && getrandom(&first, sizeof(first), 0) == sizeof(first))
		first %= count - l->cpu_count + 1;
	for (unsigned i = 0; i < l->cpu_count; i++)
		l->cpus[i] = l->cpu_count <= count ? host[first + i] : host[(uint64_t)i * count / l->cpu_count];
	return true;
}

static bool make_pipe(int *ours, int *theirs, bool we_write, struct err *e)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return err_set(e, EXIT_USAGE, "cannot make a pipe: %s", strerror(errno));
	*ours = fds[we_write];
	*theirs = fds[!we_write];
	return true;
}

static bool make_socket(int *ours, int *theirs, struct err *e)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds))
		return err_set(e, EXIT_USAGE, "cannot make a socket pair: %s", strerror(errno));
	*ours = fds[0];
	*theirs = fds[1];
	return true;
}

static bool make_streams(struct machine *m, bool tty, int theirs[HOSTED_STREAMS], struct err *e)
{
	static const struct {
		enum hosted_stream theirs;
		enum { SOCKET, TO_KERNEL, FROM_KERNEL } how;
	} how[STREAM_COUNT] = {
		[STREAM_CONTROL] = { HOSTED_CONTROL, SOCKET },    [STREAM_TTY] = { HOSTED_TTY, SOCKET },
		[STREAM_STDIN] = { HOSTED_STDIN, TO_KERNEL },     [STREAM_STDOUT] = { HOSTED_STDOUT, FROM_KERNEL },
		[STREAM_STDERR] = { HOSTED_STDERR, FROM_KERNEL }, [STREAM_LOG] = { HOSTED_LOG, FROM_KERNEL },
	};

	for (int s = 0; s < HOSTED_STREAMS; s++)
		theirs[s] = -1;
	for (int s = 0; s < STREAM_COUNT; s++) {
		int *other = &theirs[how[s].theirs];
		bool ok;

		if (!machine_stream_used(tty, s))
			continue;
		ok = how[s].how == SOCKET ? make_socket(&m->streams[s], other, e)
					  : make_pipe(&m->streams[s], other, how[s].how == TO_KERNEL, e);
		if (!ok)
			return false;
	}
	theirs[HOSTED_DOORBELL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return theirs[HOSTED_DOORBELL] >= 0 || err_set(e, EXIT_USAGE, "cannot make an eventfd: %s", strerror(errno));
}

// Of its arena the kernel takes a quarter, at most a GiB, for tasks' stacks. They are not part of the memory programs are told of.
// What is used of both together the cell's control group bounds.
static uint64_t stacks_bytes(uint64_t memory_bytes)
{
	return memory_bytes / 3 < STACKS_MAX_BYTES ? memory_bytes / 3 : STACKS_MAX_BYTES;
}

// pkeys(7). Leaf 7 of CPUID says what the processor has, and what the host's kernel makes of it.
static bool choose_pkeys(const struct machine_spec *spec)
{
	unsigned a, b, c = 0, d;
	const char *why = "--no-pkeys";
	int key = -1;

	if (!spec->cell->no_pkeys) {
		key = pkey_alloc(0, 0);
		why = strerror(errno);
		if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(c & bit_PKU))
			why = "the processor has no protection keys";
		else if (!(c & bit_OSPKE))
			why = "the host's kernel uses no protection keys";
	}
	if (key < 0) {
		machine_say(spec, "the kernel's memory stays open to the program's stray accesses: %s", why);
		return false;
	}
	pkey_free(key);
	machine_say(spec, "the kernel's memory is closed by a protection key while programs run");
	return true;
}

static void fill_loader(struct hosted_machine *h, const struct machine_spec *spec)
{
	struct loader_spec *l = &h->loader;

	l->image = &h->image;
	l->image_fd = h->image_fd;
	l->arena_bytes = spec->cell->memory_bytes + stacks_bytes(spec->cell->memory_bytes);
	l->record = spec->record->data;
	l->record_size = spec->record->size;
	l->no_aslr = spec->cell->no_aslr;
	l->events = -1;
	l->tsc_hz = spec->tsc->good_clock ? spec->tsc->hz : 0;
	l->flags = (spec->tsc->exact ? 0 : HOSTED_FLAG_TSC_MEASURED) | (choose_pkeys(spec) ? HOSTED_FLAG_PKEYS : 0);
}

// ---- start ----

static void say_namespaces(const struct machine_spec *spec, unsigned long got)
{
	if (got & CLONE_NEWUSER)
		return;
	if (got)
		machine_say(
			spec,
			"no user namespace (user.max_user_namespaces, kernel.unprivileged_userns_clone): the cell has "
			"the others");
	else
		machine_say(spec, "this host makes no namespaces for the caller (user.max_user_namespaces, "
				  "kernel.unprivileged_userns_clone): the cell is confined by its seccomp filter only");
}

static void bound_memory(struct machine *m, const struct machine_spec *spec)
{
	struct hosted_machine *h = m->private;
	char why[CGROUP_WHY_BYTES];

	if (!cgroup_create(&h->cgroup, CGROUP_ROOT, "/proc/self/cgroup", spec->cell->memory_bytes,
			   supervisor_tasks_max(&h->loader) + TASKS_BESIDE, why)) {
		machine_say(spec, "the cell's memory as a whole is not bounded: %s", why);
		return;
	}
	machine_say(spec, "control group %s, %lu MiB", h->cgroup.directories[0],
		    (unsigned long)(h->cgroup.limit_bytes >> 20));
	m->notice = h->cgroup.notice;
	m->notice_events = h->cgroup.notice_events;
}

static unsigned memory_low(struct machine *m, struct control_usage *out, unsigned max)
{
	struct hosted_machine *h = m->private;

	return cgroup_is_low(&h->cgroup) ? cgroup_usage(&h->cgroup, out, max) : 0;
}

// ---- the network ----

static int run_network(void *machine, unsigned long namespaces)
{
	struct hosted_machine *h = machine;

	(void)namespaces;
	if (!cgroup_join(&h->cgroup)) {
		fprintf(stderr, "cannot join the cell's control group: %s\n", strerror(errno));
		return EXIT_RESOURCES;
	}
	for (int i = 0; i < CGROUP_CONTROLLERS; i++)
		if (h->cgroup.fds[i] >= 0)
			close(h->cgroup.fds[i]);
	return network_main(&h->network_spec);
}

static unsigned keep_cgroup(const struct cgroup *g, int *keep)
{
	unsigned count = 0;

	for (int i = 0; i < CGROUP_CONTROLLERS; i++)
		if (g->fds[i] >= 0)
			keep[count++] = g->fds[i];
	return count;
}

// In the host's network, where the cell is not. *theirs: the cell's end of the link.
static bool start_network(struct machine *m, const struct machine_spec *spec, int *theirs, struct err *e)
{
	struct hosted_machine *h = m->private;
	struct network_spec *n = &h->network_spec;
	int pair[2], keep[1 + OUTSIDE_RULES_MAX + CGROUP_CONTROLLERS];
	struct process_spec process = { .run = run_network,
					.namespaces = CLONE_NEWPID | CLONE_NEWIPC,
					.optional = true,
					.keep_fds = keep,
					.cgroup_fd = cgroup_clone_fd(&h->cgroup),
					.context = h };
	unsigned published;
	bool ok;

	if (!spec->cell->net.count)
		return true;
	machine_say(spec, "network: %u grants", spec->cell->net.count);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_set(e, EXIT_USAGE, "cannot make a socket pair: %s", strerror(errno));
	*theirs = pair[0];
	n->link = pair[1];
	n->rules = &spec->cell->net;
	ok = net_published_bind(n->rules, n->sockets, &published, e);
	if (ok) {
		keep[process.keep_count++] = n->link;
		for (unsigned i = 0; i < published; i++)
			keep[process.keep_count++] = n->sockets[i];
		process.keep_count += keep_cgroup(&h->cgroup, keep + process.keep_count);
		snprintf(h->network.what, sizeof(h->network.what), "the cell's network process");
		ok = process_start(&h->network, &process, e);
		for (unsigned i = 0; i < published; i++)
			close(n->sockets[i]);
	}
	close(n->link);
	m->helpers[m->helper_count++] = &h->network;
	return ok;
}

static bool start(struct machine *m, const struct machine_spec *spec, struct err *e)
{
	struct hosted_machine *h = m->private;
	int *theirs = h->loader.streams, keep[HOSTED_STREAMS + 1 + CGROUP_CONTROLLERS];
	struct process_spec process = {
		.run = supervisor_run,
		.namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS,
		.user_namespace = true,
		.optional = true,
		.keep_fds = keep,
		.context = &h->supervisor,
	};
	bool ok;

	h->report = mmap(NULL, sizeof(*h->report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (h->report == MAP_FAILED)
		abort();
	h->supervisor = (struct supervisor){ spec->cell, &h->loader, h->report, &h->cgroup };
	snprintf(m->process.what, sizeof(m->process.what), "the cell's supervisor");
	fill_loader(h, spec);
	bound_memory(m, spec);
	process.cgroup_fd = cgroup_clone_fd(&h->cgroup);
	ok = choose_cpus(&h->loader, spec->cell->cpus, e) && make_streams(m, spec->cell->tty, theirs, e) &&
	     start_network(m, spec, &theirs[HOSTED_NETWORK], e);
	if (ok) {
		for (int s = 0; s < HOSTED_STREAMS; s++)
			if (theirs[s] >= 0)
				keep[process.keep_count++] = theirs[s];
		keep[process.keep_count++] = h->image_fd;
		process.keep_count += keep_cgroup(&h->cgroup, keep + process.keep_count);
		ok = process_start(&m->process, &process, e);
	}
	for (int s = 0; s < HOSTED_STREAMS; s++)
		if (theirs[s] >= 0)
			close(theirs[s]);
	if (ok)
		say_namespaces(spec, m->process.namespaces);
	if (ok && process.cgroup_fd > 0 && !m->process.in_cgroup) {
		machine_say(spec,
			    "the cell's memory as a whole is not bounded: the host does not let processes into %s",
			    h->cgroup.directories[0]);
		cgroup_remove(&h->cgroup);
		m->notice = -1;
	}
	return ok;
}

// ---- the end ----

static enum machine_end end(const struct machine *m)
{
	const struct hosted_machine *h = m->private;

	if (!h->report || h->report->end != SUPERVISOR_CELL)
		return MACHINE_BROKEN;
	switch (WEXITSTATUS(h->report->status)) {
	case 0:
	case MACHINE_EXIT_DONE: return MACHINE_DONE;
	case MACHINE_EXIT_PANIC: return MACHINE_PANIC;
	case MACHINE_EXIT_BOOT: return MACHINE_REFUSED;
	default: return MACHINE_BROKEN;
	}
}

static bool explain_broker(int status, const char *words, struct err *e)
{
	if (WIFSIGNALED(status))
		return err_set(e, EXIT_CELL_KILLED, "the cell's broker was killed by signal %d (%s)", WTERMSIG(status),
			       strsignal(WTERMSIG(status)));
	if (!WEXITSTATUS(status))
		return err_set(e, EXIT_CELL_CRASHED, "the cell's broker ended: the cell broke the protocol");
	// It could not start: the status is the one to end with.
	return err_set(e, WEXITSTATUS(status), "%s", words);
}

static bool explain(const struct machine *m, struct err *e)
{
	const struct hosted_machine *h = m->private;
	const struct supervisor_report *r = h->report;
	const char *words = process_last_words(&m->process);

	if (cgroup_has_killed(&h->cgroup))
		return err_set(e, EXIT_MEMORY, "the cell ran out of memory: it uses all of its %lu MiB (--memory)",
			       (unsigned long)(h->cgroup.limit_bytes >> 20));
	switch (r->end) {
	case SUPERVISOR_KILLED:
		return err_set(e, EXIT_CELL_KILLED, "a process of the cell was killed by signal %d (%s)%s",
			       WTERMSIG(r->status), strsignal(WTERMSIG(r->status)),
			       WTERMSIG(r->status) == SIGKILL ? ": by hand, or the host has no memory left" : "");
	case SUPERVISOR_BROKER: return explain_broker(r->status, words, e);
	case SUPERVISOR_CELL:
		if (WEXITSTATUS(r->status) == LOADER_FAILED)
			return err_set(e, EXIT_RESOURCES, "the cell could not start: %s", words);
		return err_set(e, EXIT_CELL_CRASHED, "a process of the cell exited with status %d",
			       WEXITSTATUS(r->status));
	case SUPERVISOR_FAILED: return err_set(e, EXIT_RESOURCES, "the cell could not start: %s", words);
	case SUPERVISOR_RUNS:
	case SUPERVISOR_TOLD: break;
	}
	return err_set(e, EXIT_CELL_KILLED, "the cell's supervisor ended %s: %s", process_how_it_ended(&m->process),
		       words);
}

static bool killed(const struct machine *m)
{
	const struct hosted_machine *h = m->private;

	if (!h->network.pid && WIFSIGNALED(h->network.status))
		return true;
	return h->report && !m->process.pid &&
	       (h->report->end == SUPERVISOR_KILLED ||
		(h->report->end == SUPERVISOR_BROKER && WIFSIGNALED(h->report->status)));
}

// The cell's processes end one after the other when the kernel does: its own, the broker that sees it gone, the supervisor. All
// that they did is done by now, and the host ends them side by side when it ends their namespace.
static void finished(struct machine *m)
{
	const struct hosted_machine *h = m->private;

	if (m->process.pid && (m->process.namespaces & CLONE_NEWPID) && h->report->end == SUPERVISOR_RUNS)
		kill(m->process.pid, SIGKILL);
}

// Without a pid namespace the supervisor's death by force leaves the others.
static void ended(struct machine *m)
{
	const struct hosted_machine *h = m->private;

	if (!(m->process.namespaces & CLONE_NEWPID) && h->report && h->report->kernel > 0)
		kill(-h->report->kernel, SIGKILL);
}

static void ask_to_end(struct process *p)
{
	cleanup_close int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	kill(p->pid, SIGTERM);
	if (fd >= 0)
		poll(&wait, 1, STOP_PATIENCE_MS);
}

static void stop(struct machine *m, bool flush)
{
	struct hosted_machine *h = m->private;

	if (m->process.pid && !(m->process.namespaces & CLONE_NEWPID))
		ask_to_end(&m->process);
	if (m->process.pid) {
		process_kill(&m->process);
		ended(m);
	}
	process_kill(&m->process);
	machine_close_streams(m);
	m->notice = -1;
	if (!h)
		return;
	if (flush)
		process_wait(&h->network, FLUSH_MS);
	process_kill(&h->network);
	m->helper_count = 0;
	if (h->file)
		munmap(h->file, h->image.file_size);
	if (h->image_fd >= 0)
		close(h->image_fd);
	cgroup_remove(&h->cgroup);
	if (h->report)
		munmap(h->report, sizeof(*h->report));
	free(h);
	m->private = NULL;
}

const struct machine_kind hosted_machine_kind = {
	.name = "hosted",
	.tree_type = "broker",
	.prepare = prepare,
	.start = start,
	.end = end,
	.killed = killed,
	.explain = explain,
	.finished = finished,
	.ended = ended,
	.memory_low = memory_low,
	.stop = stop,
};
