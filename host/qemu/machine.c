// SPDX-License-Identifier: Apache-2.0
#include "qemu/machine.h"

#include "abi/control.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534u

static const char *const port_names[STREAM_COUNT] = {
	[STREAM_CONTROL] = CONTROL_PORT_NAME, [STREAM_TTY] = TTY_PORT_NAME,       [STREAM_STDIN] = STDIN_PORT_NAME,
	[STREAM_STDOUT] = STDOUT_PORT_NAME,   [STREAM_STDERR] = STDERR_PORT_NAME,
};

bool machine_check_installed(struct err *e)
{
	if (!access(QEMU_PATH, X_OK))
		return true;
	return err_set(e, EXIT_HOST_MISSING, "%s is missing: install the Debian package qemu-system-x86", QEMU_PATH);
}

static bool stream_used(const struct cell *c, enum machine_stream s)
{
	if (s == STREAM_CONTROL || s == STREAM_LOG)
		return true;
	return c->tty == (s == STREAM_TTY);
}

static void add(struct strings *out, const char *option, const char *value)
{
	strings_add(out, option);
	strings_add(out, value);
}

// Nothing a cell does not use: each device costs start-up time and is a way in.
static void add_board(const struct machine_spec *spec, struct strings *out)
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
	add(out, "-cpu", spec->accelerator->kvm ? "host" : "max");
	add(out, "-accel", spec->accelerator->kvm ? "kvm" : "tcg,thread=multi");
	strings_add(out, "-m");
	strings_addf(out, "%lluM", (unsigned long long)c->memory_bytes >> 20);
	strings_add(out, "-object");
	strings_addf(out, "memory-backend-memfd,id=ram,share=on,size=%lluM", (unsigned long long)c->memory_bytes >> 20);
	strings_add(out, "-smp");
	strings_addf(out, "%u", c->cpus);
	strings_add(out, "-bios");
	strings_addf(out, "/proc/self/fd/%d", spec->rom_fd);
	strings_add(out, "-fw_cfg");
	strings_addf(out, "name=opt/cloister/kernel,file=/proc/self/fd/%d", spec->kernel_fd);
	strings_add(out, "-fw_cfg");
	strings_addf(out, "name=opt/cloister/boot,file=/proc/self/fd/%d", spec->record_fd);
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
		if (!port_names[s] || !stream_used(spec->cell, s))
			continue;
		strings_add(out, "-chardev");
		strings_addf(out, "socket,id=stream%d,fd=%d", s, fds[s]);
		strings_add(out, "-device");
		strings_addf(out, "virtserialport,bus=serial.0,nr=%u,chardev=stream%d,name=%s", number++, s,
			     port_names[s]);
	}
}

static void add_shares(const struct machine_spec *spec, struct strings *out)
{
	for (unsigned i = 0; i < spec->share_count; i++) {
		strings_add(out, "-chardev");
		strings_addf(out, "socket,id=fs%u,fd=%d", i, spec->shares[i].socket);
		strings_add(out, "-device");
		strings_addf(out, "vhost-user-fs-pci,chardev=fs%u,tag=fs%u,queue-size=1024", i, i);
	}
}

static void add_network(const struct machine_spec *spec, struct strings *out)
{
	if (spec->vsock_fd < 0)
		return;
	strings_add(out, "-chardev");
	strings_addf(out, "socket,id=vsock,fd=%d", spec->vsock_fd);
	add(out, "-device", "vhost-user-vsock-pci,chardev=vsock,disable-legacy=on");
}

void machine_command(const struct machine_spec *spec, const int fds[STREAM_COUNT], struct strings *out)
{
	add_board(spec, out);
	add_streams(spec, fds, out);
	add_shares(spec, out);
	add_network(spec, out);
	add(out, "-object", "rng-random,id=rng,filename=/dev/urandom");
	add(out, "-device", "virtio-rng-pci,disable-legacy=on,packed=on,rng=rng");
}

// Root's QEMU needs nothing of root: what it uses comes by descriptor, except /dev/kvm, whose group it keeps.
static bool drop_privileges(void *context, bool in_user_namespace)
{
	const struct machine_spec *spec = context;
	struct stat kvm;
	gid_t groups[1];
	size_t count = 0;

	if (in_user_namespace || geteuid() != 0 || spec->gdb_socket)
		return true;
	if (spec->accelerator->kvm) {
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

		if (!stream_used(c, s))
			continue;
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return err_set(e, EXIT_USAGE, "cannot make a socket pair: %s", strerror(errno));
		ours[s] = pair[0];
		theirs[s] = pair[1];
		fcntl(pair[0], F_SETFL, O_NONBLOCK);
	}
	return true;
}

bool machine_start(struct machine *m, const struct machine_spec *spec, struct err *e)
{
	int theirs[STREAM_COUNT] = { -1, -1, -1, -1, -1, -1 };
	int keep[STREAM_COUNT + 4 + CELL_MOUNTS_MAX];
	struct strings command = { 0 };
	// No network, no other processes, no System V IPC of the host: whoever breaks out of the machine finds nothing.
	struct process_spec process = { .namespaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC,
					.keep_fds = keep,
					.prepare = drop_privileges,
					.context = (void *)spec };
	bool ok = open_streams(spec->cell, m->streams, theirs, e);

	if (ok) {
		for (int s = 0; s < STREAM_COUNT; s++)
			if (theirs[s] >= 0)
				keep[process.keep_count++] = theirs[s];
		for (unsigned i = 0; i < spec->share_count; i++)
			keep[process.keep_count++] = spec->shares[i].socket;
		if (spec->vsock_fd >= 0)
			keep[process.keep_count++] = spec->vsock_fd;
		keep[process.keep_count++] = spec->kernel_fd;
		keep[process.keep_count++] = spec->rom_fd;
		keep[process.keep_count++] = spec->record_fd;
		machine_command(spec, theirs, &command);
		process.argv = (const char *const *)command.items;
		snprintf(m->process.what, sizeof(m->process.what), "qemu");
		ok = process_start(&m->process, &process, e);
	}
	strings_fini(&command);
	close_all(theirs, STREAM_COUNT);
	return ok;
}
