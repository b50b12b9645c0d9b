// SPDX-License-Identifier: Apache-2.0
// Sources: mount_setattr(2), open_tree(2), user_namespaces(7), capabilities(7), seccomp(2).
//
// What the child does before it becomes virtiofsd, in order: map ids (ordinary user), make mounts private, clone the
// tree, make the clone read-only, mount a tmpfs over /tmp and hang the clone there, cover the host's system trees,
// raise capabilities over the exec. virtiofsd then chroots into the tree and drops what it does not need.
#include "qemu/share.h"

#include "base/cleanup.h"
#include "base/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define ROOT_PLACE "/tmp"
#define ROOT_PATH  ROOT_PLACE "/root"
// Extended attributes of programs; what else there is means something to the host and is not touched. virtiofsd insists on a name for
// security.capability: its own, which nobody sets without CAP_SETFCAP, and that is taken away. The host's kernel removes it at writes.
#define XATTR_MAP                          \
	"xattrmap=:ok:all:user.::"         \
	":ok:client:security.capability::" \
	":unsupported:client:::"           \
	":bad:server:::"

bool share_check_installed(struct err *e)
{
	if (!access(VIRTIOFSD_PATH, X_OK))
		return true;
	return err_set(e, EXIT_HOST_MISSING, "%s is missing: install the Debian package qemu-system-common",
		       VIRTIOFSD_PATH);
}

static bool complain(const char *what, const char *where)
{
	fprintf(stderr, "cannot %s %s: %s\n", what, where, strerror(errno));
	return false;
}

static bool say(const struct err *e)
{
	fprintf(stderr, "%s\n", e->text);
	return false;
}

static bool place_tree(const struct cell_mount *m)
{
	cleanup_close int tree = -1;
	struct err e;

	if (!tree_propagate(MS_PRIVATE))
		return complain("make private", "mounts");
	tree = tree_clone(m->source, m->read_only, &e);
	if (tree < 0)
		return say(&e);
	if (mount("none", ROOT_PLACE, "tmpfs", 0, "mode=0755,nr_inodes=4") || mkdir(ROOT_PATH, 0755))
		return complain("prepare", ROOT_PLACE);
	if (move_mount(tree, "", AT_FDCWD, ROOT_PATH, MOVE_MOUNT_F_EMPTY_PATH))
		return complain("attach", m->source);
	return !m->mask_system || tree_cover_system(ROOT_PATH, &e) || say(&e);
}

// A user other than 0 loses capabilities at exec unless they are ambient.
static bool keep_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return complain("read", "capabilities");
	for (int i = 0; i < 2; i++)
		data[i].inheritable = data[i].permitted;
	if (syscall(SYS_capset, &header, data))
		return complain("set", "capabilities");
	for (unsigned c = 0; c <= CAP_LAST_CAP; c++)
		if (data[c / 32].permitted & (1u << (c % 32)))
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0);
	return true;
}

// virtiofsd drops supplementary groups and ends when it may not; in a user namespace nobody may. Their rights are the
// caller's own, so the call is answered with success and does nothing.
static bool ignore_setgroups(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setgroups, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(*filter), .filter = filter };

	return !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) || complain("install", "a seccomp filter");
}

// Every inode the cell knows is a descriptor here.
static void raise_descriptor_limit(void)
{
	struct rlimit limit = { 1000000, 1000000 };

	if (!setrlimit(RLIMIT_NOFILE, &limit) || getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static bool prepare(void *mount, bool in_user_namespace)
{
	umask(0);
	raise_descriptor_limit();
	if (!place_tree(mount))
		return false;
	if (!in_user_namespace)
		return true;
	return keep_capabilities() && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && ignore_setgroups();
}

// A listening socket without a name in the file system, and a connection to it made before anybody listens for it.
static bool make_sockets(int *listener, int *connection, struct err *e)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(sa_family_t); // autobind: the kernel picks an abstract name
	cleanup_close int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cleanup_close int c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (l < 0 || c < 0 || bind(l, (struct sockaddr *)&address, size) || listen(l, 1))
		return err_set(e, EXIT_USAGE, "cannot make a socket for virtiofsd: %s", strerror(errno));
	size = sizeof(address);
	if (getsockname(l, (struct sockaddr *)&address, &size) || connect(c, (struct sockaddr *)&address, size))
		return err_set(e, EXIT_USAGE, "cannot connect to virtiofsd's socket: %s", strerror(errno));
	*listener = take_fd(l);
	*connection = take_fd(c);
	return true;
}

bool share_start(struct share *s, const struct cell_mount *m, struct err *e)
{
	cleanup_close int listener = -1, connection = -1;
	cleanup_free char *fd_option = NULL;
	struct process_spec spec = {
		.namespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC,
		.prepare = prepare,
		.context = (void *)m,
		.keep_count = 1,
	};

	snprintf(s->process.what, sizeof(s->process.what), "virtiofsd for %s", m->source);
	if (!make_sockets(&listener, &connection, e))
		return false;
	fd_option = text_format("--fd=%d", listener);
	spec.keep_fds = &listener;
	spec.argv = (const char *const[]){ VIRTIOFSD_PATH,
					   fd_option,
					   "--rlimit-nofile=0",
					   "-f",
					   "-o",
					   "source=" ROOT_PATH,
					   "-o",
					   "sandbox=chroot",
					   "-o",
					   "cache=auto",
					   "-o",
					   "writeback",
					   "-o",
					   XATTR_MAP,
					   "-o",
					   "modcaps=-setfcap",
					   "-o",
					   "log_level=err",
					   NULL };
	if (!process_start(&s->process, &spec, e))
		return false;
	s->socket = take_fd(connection);
	return true;
}
