// SPDX-License-Identifier: Apache-2.0
// Each key is a row of a table: its dotted name and the function that takes its value. `sgx.*` is accepted and has no
// meaning here, so that a Gramine manifest can be used as it stands.
#include "manifest/manifest.h"

#include "base/cleanup.h"
#include "manifest/toml.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_MAX_BYTES (1u << 20)

struct context {
	struct cell *cell;
	const char *name;      // of the file, for messages
	const char *directory; // base of relative URIs
	struct err *error;
};

static bool fail(const struct context *x, const struct toml_value *v, const char *key, const char *what)
{
	return err_set(x->error, EXIT_USAGE, "%s:%u: %s: %s", x->name, v->line, key, what);
}

static bool want(const struct context *x, const struct toml_value *v, const char *key, enum toml_type type)
{
	if (v->type == type)
		return true;
	return err_set(x->error, EXIT_USAGE, "%s:%u: %s must be %s, not %s", x->name, v->line, key,
		       toml_type_name(type), toml_type_name(v->type));
}

static bool take_string(const struct context *x, const struct toml_value *v, const char *key, char **out)
{
	if (!want(x, v, key, TOML_STRING))
		return false;
	free(*out);
	*out = text_copy(v->string);
	return true;
}

static bool take_unsigned(const struct context *x, const struct toml_value *v, const char *key, uint64_t max,
			  uint64_t *out)
{
	if (!want(x, v, key, TOML_INTEGER))
		return false;
	if (v->integer < 0 || (uint64_t)v->integer > max)
		return err_set(x->error, EXIT_USAGE, "%s:%u: %s must be 0 to %llu", x->name, v->line, key,
			       (unsigned long long)max);
	*out = (uint64_t)v->integer;
	return true;
}

static bool take_size(const struct context *x, const struct toml_value *v, const char *key, uint64_t *out)
{
	if (!want(x, v, key, TOML_STRING))
		return false;
	return size_parse(v->string, out) || fail(x, v, key, "want a size such as \"512M\" or \"2G\"");
}

static bool key_entrypoint(const struct context *x, const struct toml_value *v, const char *key)
{
	char **program = &x->cell->program;

	if (!take_string(x, v, key, program))
		return false;
	if (!strncmp(*program, "file:", 5))
		memmove(*program, *program + 5, strlen(*program + 5) + 1);
	return true;
}

// In Gramine this names the library OS itself, which a cell does not load; older manifests put the program here.
static bool key_loader_entrypoint(const struct context *x, const struct toml_value *v, const char *key)
{
	if (v->type == TOML_TABLE || x->cell->program)
		return true;
	if (v->type == TOML_STRING && strstr(v->string, "libsysdb"))
		return true;
	return key_entrypoint(x, v, key);
}

static bool key_argv(const struct context *x, const struct toml_value *v, const char *key)
{
	if (!want(x, v, key, TOML_ARRAY))
		return false;
	strings_fini(&x->cell->argv);
	for (size_t i = 0; i < v->count; i++) {
		if (!want(x, &v->children[i], key, TOML_STRING))
			return false;
		strings_add(&x->cell->argv, v->children[i].string);
	}
	return true;
}

static bool add_variable(const struct context *x, const struct toml_value *v)
{
	const struct toml_value *value = v, *passthrough;
	cleanup_free char *key = text_format("loader.env.%s", v->key);

	if (v->type == TOML_TABLE) {
		value = toml_get(v, "value");
		passthrough = toml_get(v, "passthrough");
		if (v->count != 1 || (!value && !passthrough))
			return fail(x, v, key, "want a string, { value = \"...\" } or { passthrough = true }");
		if (passthrough) {
			if (!want(x, passthrough, key, TOML_BOOLEAN))
				return false;
			if (passthrough->boolean && getenv(v->key))
				strings_set_variable(&x->cell->envp, v->key, getenv(v->key));
			return true;
		}
	}
	if (!want(x, value, key, TOML_STRING))
		return false;
	strings_set_variable(&x->cell->envp, v->key, value->string);
	return true;
}

static bool key_env(const struct context *x, const struct toml_value *v, const char *key)
{
	if (!want(x, v, key, TOML_TABLE))
		return false;
	for (size_t i = 0; i < v->count; i++)
		if (!add_variable(x, &v->children[i]))
			return false;
	return true;
}

static bool key_use_host_env(const struct context *x, const struct toml_value *v, const char *key)
{
	if (!want(x, v, key, TOML_BOOLEAN))
		return false;
	x->cell->host_environment = v->boolean;
	return true;
}

static bool key_uid(const struct context *x, const struct toml_value *v, const char *key)
{
	uint64_t value;

	if (!take_unsigned(x, v, key, UINT32_MAX - 1, &value))
		return false;
	x->cell->uid = (uid_t)value;
	x->cell->group_count = 0;
	return true;
}

static bool key_gid(const struct context *x, const struct toml_value *v, const char *key)
{
	uint64_t value;

	if (!take_unsigned(x, v, key, UINT32_MAX - 1, &value))
		return false;
	x->cell->gid = (gid_t)value;
	x->cell->group_count = 0;
	return true;
}

static bool mount_source(const struct context *x, const struct toml_value *v, const char *uri, char **out)
{
	cleanup_free char *path = NULL;

	if (strncmp(uri, "file:", 5))
		return fail(x, v, "uri", "want \"file:PATH\"");
	path = uri[5] == '/' ? text_copy(uri + 5) : text_format("%s/%s", x->directory, uri + 5);
	*out = realpath(path, NULL);
	if (!*out)
		return err_set(x->error, EXIT_GRANT, "%s:%u: uri '%s': %s: %s", x->name, v->line, uri, path,
			       strerror(errno));
	return true;
}

struct mount_keys {
	const char *type, *path, *uri, *size;
	bool read_only, read_write;
};

static bool mount_key(const struct context *x, const struct toml_value *v, struct mount_keys *k)
{
	const char **texts[] = { &k->type, &k->path, &k->uri, &k->size };
	static const char *const names[] = { "type", "path", "uri", "size" };

	for (size_t i = 0; i < 4; i++) {
		if (strcmp(v->key, names[i]))
			continue;
		*texts[i] = v->string;
		return want(x, v, names[i], TOML_STRING);
	}
	if (!strcmp(v->key, "read_only")) {
		k->read_only = v->boolean;
		k->read_write = !v->boolean;
		return want(x, v, "read_only", TOML_BOOLEAN);
	}
	return fail(x, v, v->key, "unknown key of a mount (known: type, path, uri, size, read_only)");
}

// Gramine mounts are writable unless the host says otherwise; ours too, unless `read_only = true`.
static bool add_mount(const struct context *x, const struct toml_value *v, const char *key, const char *fixed_path)
{
	struct mount_keys k = { .type = "chroot", .path = fixed_path };
	struct cell_mount *m;
	cleanup_free char *source = NULL;
	uint64_t limit = 0;

	if (!want(x, v, key, TOML_TABLE))
		return false;
	for (size_t i = 0; i < v->count; i++)
		if (!mount_key(x, &v->children[i], &k))
			return false;
	if (!k.path)
		return fail(x, v, key, "a mount needs a path");
	if (k.size && !size_parse(k.size, &limit))
		return fail(x, v, key, "size: want a size such as \"64M\"");
	if (!strcmp(k.type, "tmpfs")) {
		m = cell_mount_add(x->cell, "tmpfs", NULL, k.path, k.read_only, x->error);
		if (!m)
			return err_wrap(x->error, "%s:%u", x->name, v->line);
		m->limit_bytes = limit;
		m->mode = strcmp(k.path, "/tmp") ? 0755 : 01777;
		return true;
	}
	if (strcmp(k.type, "chroot"))
		return fail(x, v, k.type, "unknown type of a mount (known: chroot, tmpfs)");
	if (!k.uri)
		return fail(x, v, key, "a mount of type chroot needs a uri");
	if (!mount_source(x, v, k.uri, &source))
		return false;
	if (!cell_mount_add(x->cell, CELL_HOST_TREE, source, k.path, k.read_only, x->error))
		return err_wrap(x->error, "%s:%u", x->name, v->line);
	return true;
}

static bool key_root(const struct context *x, const struct toml_value *v, const char *key)
{
	return add_mount(x, v, key, "/");
}

static bool key_mounts(const struct context *x, const struct toml_value *v, const char *key)
{
	if (!want(x, v, key, TOML_ARRAY))
		return false;
	for (size_t i = 0; i < v->count; i++)
		if (!add_mount(x, &v->children[i], key, NULL))
			return false;
	return true;
}

static bool key_start_dir(const struct context *x, const struct toml_value *v, const char *key)
{
	return take_string(x, v, key, &x->cell->workdir);
}

static bool key_stack_size(const struct context *x, const struct toml_value *v, const char *key)
{
	uint64_t size;

	if (!take_size(x, v, key, &size))
		return false;
	cell_add_rlimit(x->cell, RLIMIT_STACK, size, RLIM_INFINITY);
	return true;
}

static bool key_brk_size(const struct context *x, const struct toml_value *v, const char *key)
{
	uint64_t size;

	if (!take_size(x, v, key, &size))
		return false;
	cell_add_rlimit(x->cell, RLIMIT_DATA, size, size);
	return true;
}

static bool key_fds_limit(const struct context *x, const struct toml_value *v, const char *key)
{
	uint64_t count;

	if (!take_unsigned(x, v, key, 1u << 20, &count))
		return false;
	cell_add_rlimit(x->cell, RLIMIT_NOFILE, count, count);
	return true;
}

static bool key_memory(const struct context *x, const struct toml_value *v, const char *key)
{
	return take_size(x, v, key, &x->cell->memory_bytes);
}

static bool key_cpus(const struct context *x, const struct toml_value *v, const char *key)
{
	uint64_t count;

	if (!take_unsigned(x, v, key, CELL_CPUS_MAX, &count))
		return false;
	if (!count) // would mean the default
		return fail(x, v, key, "a cell has at least one");
	x->cell->cpus = (unsigned)count;
	return true;
}

static bool key_port(const struct context *x, const struct toml_value *v, const char *key)
{
	if (!want(x, v, key, TOML_STRING))
		return false;
	if (!strcmp(v->string, "auto"))
		x->cell->port = CELL_PORT_AUTO;
	else if (!strcmp(v->string, "qemu"))
		x->cell->port = CELL_PORT_QEMU;
	else if (!strcmp(v->string, "hosted"))
		x->cell->port = CELL_PORT_HOSTED;
	else
		return fail(x, v, key, "want \"auto\", \"qemu\" or \"hosted\"");
	return true;
}

static bool key_pkeys(const struct context *x, const struct toml_value *v, const char *key)
{
	if (!want(x, v, key, TOML_BOOLEAN))
		return false;
	x->cell->no_pkeys = !v->boolean;
	return true;
}

static bool key_hostname(const struct context *x, const struct toml_value *v, const char *key)
{
	if (!take_string(x, v, key, &x->cell->hostname))
		return false;
	return strlen(x->cell->hostname) <= 64 || fail(x, v, key, "longer than 64 bytes");
}

static bool take_grants(const struct context *x, const struct toml_value *v, const char *key,
			bool (*add)(struct net_rules *rules, const char *text, struct err *e))
{
	if (!want(x, v, key, TOML_ARRAY))
		return false;
	for (size_t i = 0; i < v->count; i++) {
		if (!want(x, &v->children[i], key, TOML_STRING))
			return false;
		if (!add(&x->cell->net, v->children[i].string, x->error))
			return err_wrap(x->error, "%s:%u: %s", x->name, v->children[i].line, key);
	}
	return true;
}

static bool key_connect(const struct context *x, const struct toml_value *v, const char *key)
{
	return take_grants(x, v, key, net_rules_add_connect);
}

static bool key_publish(const struct context *x, const struct toml_value *v, const char *key)
{
	return take_grants(x, v, key, net_rules_add_publish);
}

static bool key_ignored(const struct context *x, const struct toml_value *v, const char *key)
{
	(void)x, (void)v, (void)key;
	return true;
}

struct key {
	const char *name;
	bool (*take)(const struct context *x, const struct toml_value *v, const char *key);
};

static const struct key keys[] = {
	{ "libos.entrypoint", key_entrypoint },
	{ "loader.entrypoint", key_loader_entrypoint },
	{ "loader.argv", key_argv },
	{ "loader.env", key_env },
	{ "loader.insecure__use_host_env", key_use_host_env },
	{ "loader.insecure__use_cmdline_argv", key_ignored }, // arguments after PROGRAM always win
	{ "loader.log_level", key_ignored },
	{ "loader.uid", key_uid },
	{ "loader.gid", key_gid },
	{ "fs.root", key_root },
	{ "fs.mounts", key_mounts },
	{ "fs.start_dir", key_start_dir },
	{ "sys.stack.size", key_stack_size },
	{ "sys.brk.max_size", key_brk_size },
	{ "sys.fds.limit", key_fds_limit },
	{ "sys.insecure__allow_eventfd", key_ignored },  // eventfd is the cell's own
	{ "sys.enable_sigterm_injection", key_ignored }, // SIGTERM always arrives
	{ "sys.enable_extra_runtime_domain_names_conf", key_ignored },
	{ "cell.memory", key_memory },
	{ "cell.cpus", key_cpus },
	{ "cell.port", key_port },
	{ "cell.hostname", key_hostname },
	{ "cell.pkeys", key_pkeys },
	{ "net.connect", key_connect },
	{ "net.publish", key_publish },
	{ "sgx", key_ignored },
};

static bool is_prefix_of_a_key(const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (!strncmp(keys[i].name, name, length) && keys[i].name[length] == '.')
			return true;
	return false;
}

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	return NULL;
}

static bool take_table(const struct context *x, const struct toml_value *table, const char *prefix)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct toml_value *v = &table->children[i];
		cleanup_free char *name = *prefix ? text_format("%s.%s", prefix, v->key) : text_copy(v->key);
		const struct key *key = find_key(name);
		bool ok;

		if (key)
			ok = key->take(x, v, name);
		else if (v->type == TOML_TABLE && is_prefix_of_a_key(name))
			ok = take_table(x, v, name);
		else
			ok = fail(x, v, name, "unknown key (docs/manifest.md lists the known ones)");
		if (!ok)
			return false;
	}
	return true;
}

bool manifest_parse(struct cell *c, const char *text, size_t size, const char *name, const char *directory,
		    struct err *e)
{
	struct context x = { .cell = c, .name = name, .directory = directory, .error = e };
	char message[512];
	struct toml_value *root = toml_parse(text, size, message, sizeof(message));
	bool ok;

	if (!root)
		return err_set(e, EXIT_USAGE, "%s: %s", name, message);
	ok = take_table(&x, root, "");
	toml_free(root);
	return ok;
}

static bool read_file(const char *path, struct buffer *out, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return err_set(e, EXIT_USAGE, "manifest %s: %s", path, strerror(errno));
	do {
		buffer_reserve(out, 16384);
		n = read(fd, out->data + out->size, 16384);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, EXIT_USAGE, "manifest %s: %s", path, strerror(errno));
		out->size += (size_t)n;
		if (out->size > MANIFEST_MAX_BYTES)
			return err_set(e, EXIT_USAGE, "manifest %s: larger than %u bytes", path, MANIFEST_MAX_BYTES);
	} while (n);
	return true;
}

bool manifest_load(struct cell *c, const char *path, struct err *e)
{
	cleanup_free char *copy = text_copy(path);
	struct buffer text = { 0 };
	bool ok = read_file(path, &text, e) && manifest_parse(c, text.data, text.size, path, dirname(copy), e);

	buffer_fini(&text);
	return ok;
}
