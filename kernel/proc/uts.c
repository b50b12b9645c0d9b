// SPDX-License-Identifier: Apache-2.0
// UTS namespaces: the names of host and domain. uname(2), sethostname(2), uts_namespaces(7).
#include "internal.h"

#include "kernel/boot_config.h"
#include "kernel/namespace.h"
#include "kernel/syscalls.h"
#include "kernel/uts.h"
#include "lib/string.h"

#include <linux/capability.h>
#include <linux/utsname.h>

struct uts_namespace {
	struct namespace common;
	struct spinlock lock; // a leaf
	bool host_set;        // until then the boot record says the name
	char host[UTS_NAME_BYTES], domain[UTS_NAME_BYTES];
};

static struct uts_namespace initial = {
	.common = NAMESPACE_INIT(&uts_namespace_type, NAMESPACE_INO_UTS, &user_namespace_initial),
	.lock = SPINLOCK_INIT,
	.domain = "(none)",
};
struct namespace *const uts_namespace_initial = &initial.common;

static struct uts_namespace *mine(void)
{
	return container_of(current->namespaces->of[NAMESPACE_UTS], struct uts_namespace, common);
}

static void name_get(struct uts_namespace *u, bool host, char out[UTS_NAME_BYTES])
{
	spin_lock(&u->lock);
	if (host && !u->host_set)
		string_copy(out, boot_config.hostname && boot_config.hostname[0] ? boot_config.hostname : "cell",
			    UTS_NAME_BYTES);
	else
		memcpy(out, host ? u->host : u->domain, UTS_NAME_BYTES);
	spin_unlock(&u->lock);
}

void uts_hostname(char out[UTS_NAME_BYTES]) { name_get(mine(), true, out); }
void uts_domainname(char out[UTS_NAME_BYTES]) { name_get(mine(), false, out); }

int uts_set(bool host, const char *name, size_t length)
{
	struct uts_namespace *u = mine();
	if (!cred_capable_in(current->cred, u->common.owner, CAP_SYS_ADMIN))
		return -EPERM;
	char *to = host ? u->host : u->domain;
	spin_lock(&u->lock);
	memset(to, 0, UTS_NAME_BYTES);
	memcpy(to, name, min(length, (size_t)UTS_NAME_BYTES - 1));
	if (host)
		u->host_set = true;
	spin_unlock(&u->lock);
	return 0;
}

static struct namespace *create(struct namespace *old, struct user_namespace *owner, struct fs_context *fs)
{
	struct uts_namespace *from = container_of(old, struct uts_namespace, common), *u = kalloc(sizeof(*u));
	if (!u)
		return err_ptr(-ENOMEM);
	int error = namespace_init(&u->common, &uts_namespace_type, owner);
	if (error) {
		kfree(u);
		return err_ptr(error);
	}
	spin_init(&u->lock);
	name_get(from, true, u->host);
	name_get(from, false, u->domain);
	u->host_set = true;
	return &u->common;
}

static void destroy(struct namespace *n) { kfree(container_of(n, struct uts_namespace, common)); }

const struct namespace_type uts_namespace_type = {
	.name = "uts", .kind = NAMESPACE_UTS, .clone_flag = CLONE_NEWUTS, .create = create, .destroy = destroy
};

// ---- system calls ----

long sys_uname(struct uptr buffer)
{
	struct new_utsname u;
	memset(&u, 0, sizeof(u));
	string_copy(u.sysname, "Linux", sizeof(u.sysname));
	uts_hostname(u.nodename);
	string_copy(u.release, UTS_RELEASE, sizeof(u.release));
	string_copy(u.version, UTS_VERSION, sizeof(u.version));
	string_copy(u.machine, "x86_64", sizeof(u.machine));
	uts_domainname(u.domainname);
	return put_user(u, buffer);
}

static long set_name(bool host, struct uptr name, int size)
{
	char text[UTS_NAME_BYTES];
	if (!cred_capable_in(current->cred, mine()->common.owner, CAP_SYS_ADMIN))
		return -EPERM;
	if (size < 0 || size >= UTS_NAME_BYTES)
		return -EINVAL;
	if (copy_from_user(text, name, (size_t)size))
		return -EFAULT;
	return uts_set(host, text, (size_t)size);
}

long sys_sethostname(struct uptr name, int size) { return set_name(true, name, size); }
long sys_setdomainname(struct uptr name, int size) { return set_name(false, name, size); }
