// SPDX-License-Identifier: Apache-2.0
#include "qemu/machine.h"

#include "abi/control.h"
#include "base/cleanup.h"
#include "base/part.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534u
#define PARTS  "port/x86"

#define NETWORK_PATIENCE_MS 6000

static const char *const port_names[STREAM_COUNT] = {
	[STREAM_CONTROL] = CONTROL_PORT_NAME, [STREAM_TTY] = TTY_PORT_NAME,       [STREAM_STDIN] = STDIN_PORT_NAME,
	[STREAM_STDOUT] = STDOUT_PORT_NAME,   [STREAM_STDERR] = STDERR_PORT_NAME,
};

static bool check_installed(struct err *e)
{
	if (!access(QEMU_PATH, X_OK))
		return true;
	return err_set(e, EXIT_HOST_MISSING, "%s is missing: install the Debian package qemu-system-x86", QEMU_PATH);
}

static void add(struct strings *out, const char *option, const char *value)
{
	strings_add(out, option);
	strings_add(out, value);
}

// Nothing a cell does not use: each device costs start-up time and is a way in.
static void add_board(const struct machine_spec *spec, const struct qemu_machine *q, struct strings *out)
{
	const struct cell *c = spec->cell;

	strings_add(out, QEMU_PATH);
	add(out, "-name", "cloister");
	strings_add(out, "-nodefaults");
	strings_add(out, "-no-user-config");
	strings_add(out, "-no-reboot");
	add(out, "-display", "none");
	add(out, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	add(out, "-machine",
	    "q35,memory-backend=ram,usb=off,smbus=off,sata=off,pit=off,i8042=off,vmport=off,hpet=off,graphics=off,"
	    "acpi=off,smm=off,mem-merge=off,dump-guest-core=off");
	add(out, "-cpu", q->accelerator.kvm ? "host" : "max");
	add(out, "-accel", q->accelerator.kvm ? "kvm" : "tcg,thread=multi");
	strings_add(out, "-m");
	strings_addf(out, "%lluM", (unsigned long long)c->memory_bytes >> 20);
	strings_add(out, "-object");
	strings_addf(out, "memory-backend-memfd,id=ram,share=on,size=%lluM", (unsigned long long)c->memory_bytes >> 20);
	strings_add(out, "-smp");
	strings_addf(out, "%u", c->cpus ? c->cpus : 1);
	strings_add(out, "-bios");
	strings_addf(out, "/proc/self/fd/%d", q->rom_fd);
	strings_add(out, "-fw_cfg");
	strings_addf(out, "name=opt/cloister/kernel,file=/proc/self/fd/%d", q->kernel_fd);
	strings_add(out, "-fw_cfg");
	strings_addf(out, "name=opt/cloister/boot,file=/proc/self/fd/%d", q->record_fd);
	add(out, "-device", "isa-debug-exit,iobase=0xf4,iosize=4");
	if (!spec->gdb_socket)
		return;
	strings_add(out, "-gdb");
	strings_addf(out, "unix:%s,server=on,wait=off", spec->gdb_socket);
	strings_add(out, "-S");
}

static void add_streams(const struct machine_spec *spec, const int fds[STREAM_COUNT], struct strings *out)
{
	unsigned number = 1; // port 0 is for consoles of old drivers

	strings_add(out, "-chardev");
	strings_addf(out, "socket,id=log,fd=%d", fds[STREAM_LOG]);
	add(out, "-device", "isa-debugcon,iobase=0xe9,chardev=log");
	add(out, "-device", "virtio-serial-pci,id=serial,disable-legacy=on,packed=on,max_ports=5,vectors=12");
	for (int s = 0; s < STREAM_COUNT; s++) {
		if (!port_names[s] || !machine_stream_used(spec->cell->tty, s))
			continue;
		strings_add(out, "-chardev");
		strings_addf(out, "socket,id=stream%d,fd=%d", s, fds[s]);
		strings_add(out, "-device");
		strings_addf(out, "virtserialport,bus=serial.0,nr=%u,chardev=stream%d,name=%s", number++, s,
			     port_names[s]);
	}
}

static void add_shares(const struct qemu_machine *q, struct strings *out)
{
	for (unsigned i = 0; i < q->share_count; i++) {
		strings_add(out, "-chardev");
		strings_addf(out, "socket,id=fs%u,fd=%d", i, q->shares[i].socket);
		strings_add(out, "-device");
		strings_addf(out, "vhost-user-fs-pci,chardev=fs%u,tag=fs%u,queue-size=1024", i, i);
	}
}

static void add_network(const struct qemu_machine *q, struct strings *out)
{
	if (q->outside.socket < 0)
		return;
	strings_add(out, "-chardev");
	strings_addf(out, "socket,id=vsock,fd=%d", q->outside.socket);
	add(out, "-device", "vhost-user-vsock-pci,chardev=vsock,disable-legacy=on");
}

void qemu_command(const struct machine_spec *spec, const struct qemu_machine *q, const int fds[STREAM_COUNT],
		  struct strings *out)
{
	add_board(spec, q, out);
	add_streams(spec, fds, out);
	add_shares(q, out);
	add_network(q, out);
	add(out, "-object", "rng-random,id=rng,filename=/dev/urandom");
	add(out, "-device", "virtio-rng-pci,disable-legacy=on,packed=on,rng=rng");
}

struct privileges {
	bool kvm;
	bool keep; // a debugger's socket is made where the caller may
};

// Root's QEMU needs nothing of root: what it uses comes by descriptor, except /dev/kvm, whose group it keeps.
static bool drop_privileges(void *context, bool in_user_namespace)
{
	const struct privileges *p = context;
	struct stat kvm;
	gid_t groups[1];
	size_t count = 0;

	if (in_user_namespace || geteuid() != 0 || p->keep)
		return true;
	if (p->kvm) {
		if (stat("/dev/kvm", &kvm) || (kvm.st_mode & 0060) != 0060)
			return true;
		groups[count++] = kvm.st_gid;
	}
	if (setgroups(count, groups) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY)) {
		fprintf(stderr, "cannot become nobody: %s\n", strerror(errno));
		return false;
	}
	return true;
}

static void close_all(int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static bool open_streams(const struct cell *c, int ours[STREAM_COUNT], int theirs[STREAM_COUNT], struct err *e)
{
	for (int s = 0; s < STREAM_COUNT; s++) {
		int pair[2];

		if (!machine_stream_used(c->tty, s))
			continue;
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return err_set(e, EXIT_USAGE, "cannot make a socket pair: %s", strerror(errno));
		ours[s] = pair[0];
		theirs[s] = pair[1];
		fcntl(pair[0], F_SETFL, O_NONBLOCK);
	}
	return true;
}

// ---- prepare ----

static bool start_shares(struct machine *m, struct qemu_machine *q, const struct cell *c, struct err *e)
{
	for (size_t i = 0; i < c->mount_count; i++) {
		if (!c->mounts[i].source)
			continue;
		m->helpers[m->helper_count++] = &q->shares[q->share_count].process;
		if (!share_start(&q->shares[q->share_count++], &c->mounts[i], e))
			return false;
	}
	return true;
}

static bool start_network(struct machine *m, struct qemu_machine *q, const struct machine_spec *spec, struct err *e)
{
	const struct net_rules *rules = &spec->cell->net;
	cleanup_free char *program = NULL;

	if (!rules->count)
		return true;
	machine_say(spec, "network: %u grants", rules->count);
	program = part_find_program("cloister-vsock", "host", e);
	m->helpers[m->helper_count++] = &q->outside.process;
	return program && outside_start(&q->outside, program, rules, e);
}

// QEMU has them now; as long as we hold ours, a helper does not see QEMU's end.
static void close_helper_sockets(struct qemu_machine *q)
{
	if (q->outside.socket >= 0)
		close(q->outside.socket);
	q->outside.socket = -1;
	for (unsigned i = 0; i < q->share_count; i++) {
		if (q->shares[i].socket >= 0)
			close(q->shares[i].socket);
		q->shares[i].socket = -1;
	}
}

static void choose_accelerator(struct accelerator *a, const struct machine_spec *spec)
{
	if (spec->accelerator == ACCEL_AUTO) {
		accelerator_probe(a);
	} else {
		a->kvm = spec->accelerator == ACCEL_KVM;
		snprintf(a->why, sizeof(a->why), "%s: --accel says so", a->kvm ? "kvm" : "tcg");
	}
	machine_say(spec, "accelerator %s", a->why);
}

static bool prepare(struct machine *m, const struct machine_spec *spec, struct err *e)
{
	struct qemu_machine *q = m->private = calloc(1, sizeof(*q));

	if (!q)
		abort();
	q->kernel_fd = q->rom_fd = q->record_fd = -1;
	q->outside = (struct outside){ .socket = -1, .process.stderr_fd = -1 };
	for (unsigned i = 0; i < CELL_MOUNTS_MAX; i++)
		q->shares[i] = (struct share){ .socket = -1, .process.stderr_fd = -1 };
	if (!check_installed(e) || !share_check_installed(e))
		return false;
	q->kernel_fd = part_open(spec->kernel_path, "--kernel", PARTS, "cloister.img", e);
	if (q->kernel_fd < 0)
		return false;
	q->rom_fd = part_open(spec->rom_path, "--rom", PARTS, "rom.bin", e);
	if (q->rom_fd < 0 || !start_network(m, q, spec, e) || !start_shares(m, q, spec->cell, e))
		return false;
	choose_accelerator(&q->accelerator, spec);
	return true;
}

// ---- start ----

// The record, in memory that is nobody's file.
static int record_file(const struct buffer *record, struct err *e)
{
	cleanup_close int fd = memfd_create("cloister-boot-record", MFD_CLOEXEC);

	if (fd >= 0 && write(fd, record->data, record->size) == (ssize_t)record->size)
		return take_fd(fd);
	err_set_text(e, EXIT_USAGE, "cannot hold the boot record: %s", strerror(errno));
	return -1;
}

static bool start(struct machine *m, const struct machine_spec *spec, struct err *e)
{
	struct qemu_machine *q = m->private;
	int theirs[STREAM_COUNT] = { -1, -1, -1, -1, -1, -1 };
	int keep[STREAM_COUNT + 4 + CELL_MOUNTS_MAX];
	struct strings command = { 0 };
	struct privileges privileges = { q->accelerator.kvm, spec->gdb_socket };
	// No network, no other processes, no System V IPC of the host: whoever breaks out of the machine finds nothing.
	struct process_spec process = { .namespaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC,
					.keep_fds = keep,
					.prepare = drop_privileges,
					.context = &privileges };
	bool ok;

	q->record_fd = record_file(spec->record, e);
	ok = q->record_fd >= 0 && open_streams(spec->cell, m->streams, theirs, e);
	if (ok) {
		for (int s = 0; s < STREAM_COUNT; s++)
			if (theirs[s] >= 0)
				keep[process.keep_count++] = theirs[s];
		for (unsigned i = 0; i < q->share_count; i++)
			keep[process.keep_count++] = q->shares[i].socket;
		if (q->outside.socket >= 0)
			keep[process.keep_count++] = q->outside.socket;
		keep[process.keep_count++] = q->kernel_fd;
		keep[process.keep_count++] = q->rom_fd;
		keep[process.keep_count++] = q->record_fd;
		qemu_command(spec, q, theirs, &command);
		process.argv = (const char *const *)command.items;
		snprintf(m->process.what, sizeof(m->process.what), "qemu");
		ok = process_start(&m->process, &process, e);
	}
	strings_fini(&command);
	close_all(theirs, STREAM_COUNT);
	if (ok)
		close_helper_sockets(q);
	return ok;
}

// ---- the end ----

// The debug-exit device turns a value into a status of twice that and one.
static enum machine_end end(const struct machine *m)
{
	int code = WIFEXITED(m->process.status) ? WEXITSTATUS(m->process.status) : -1;

	switch (code) {
	case 0:
	case MACHINE_EXIT_DONE << 1 | 1: return MACHINE_DONE;
	case MACHINE_EXIT_PANIC << 1 | 1: return MACHINE_PANIC;
	case MACHINE_EXIT_BOOT << 1 | 1: return MACHINE_REFUSED;
	default: return MACHINE_BROKEN;
	}
}

static bool explain(const struct machine *m, struct err *e)
{
	const char *words = process_last_words(&m->process);

	if (strstr(words, "annot allocate memory") || strstr(words, "out of memory"))
		return err_set(e, EXIT_RESOURCES, "the host has not enough memory for the cell (--memory): %s", words);
	return err_set(e, EXIT_CELL_CRASHED, "qemu ended %s: %s", process_how_it_ended(&m->process), words);
}

static void stop(struct machine *m, bool flush)
{
	struct qemu_machine *q = m->private;

	process_kill(&m->process);
	machine_close_streams(m);
	if (!q)
		return;
	if (flush)
		process_wait(&q->outside.process, NETWORK_PATIENCE_MS);
	process_kill(&q->outside.process);
	for (unsigned i = 0; i < CELL_MOUNTS_MAX; i++)
		process_kill(&q->shares[i].process);
	close_helper_sockets(q);
	close_all((int[]){ q->kernel_fd, q->rom_fd, q->record_fd }, 3);
	m->helper_count = 0;
	free(q);
	m->private = NULL;
}

const struct machine_kind qemu_machine_kind = {
	.name = "qemu",
	.tree_type = "virtiofs",
	.prepare = prepare,
	.start = start,
	.end = end,
	.explain = explain,
	.stop = stop,
};
