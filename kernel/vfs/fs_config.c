// SPDX-License-Identifier: Apache-2.0
// File systems made and changed step by step: fsopen(2), fsconfig(2), fsmount(2), fspick(2).
//
// A configuration is an anonymous file. Parameters are checked as they come, kept as the text that mount(2) takes, and used at once when the
// superblock is made or changed. What goes wrong is told in words, which read(2) fetches one by one.
#include "mount.h"

#include <linux/mount.h>

#include "lib/fmt.h"
#include "lib/string.h"

#define TEXT_BYTES    256u            // of a key, or of a value
#define BINARY_BYTES  (1024 * 1024)   // of a value that no file system here takes
#define OPTIONS_BYTES (PAGE_SIZE / 2) // of all parameters together
#define MESSAGES      8u              // kept; older ones go
#define MESSAGE_BYTES (TEXT_BYTES + 64)

enum phase { CREATE_PARAMETERS, AWAITING_MOUNT, CHANGE_PARAMETERS, FAILED };

struct fs_config {
	struct mutex lock; // guards the rest
	enum phase phase;
	struct fs_type *type;
	struct super *super;           // made or picked: a reference; NULL: none yet
	uint32_t readonly, has_chosen; // MS_RDONLY: what was said, and whether it was
	char source[TEXT_BYTES];
	bool has_source;
	char options[OPTIONS_BYTES];
	size_t options_length;
	unsigned first_message, message_count;
	char messages[MESSAGES][MESSAGE_BYTES];
};

// ---- messages ----

static void tell(struct fs_config *c, const char *format, const char *what)
{
	if (c->message_count == MESSAGES) {
		c->first_message++;
		c->message_count--;
	}
	char *m = c->messages[(c->first_message + c->message_count++) % MESSAGES];
	(void)fmt_print(m, MESSAGE_BYTES, format, c->type->name, what);
}

// The length of the oldest one, which is taken unless it is longer than `size`.
static ssize_t take_message(struct fs_config *c, char *out, size_t size)
{
	if (!c->message_count)
		return -ENODATA;
	size_t length = string_copy(out, c->messages[c->first_message % MESSAGES], MESSAGE_BYTES);
	if (length > size)
		return -EMSGSIZE;
	c->first_message++;
	c->message_count--;
	return (ssize_t)length;
}

static ssize_t config_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct fs_config *c = f->private;
	char message[MESSAGE_BYTES];
	(void)pos;
	mutex_lock(&c->lock);
	ssize_t length = take_message(c, message, to->count);
	mutex_unlock(&c->lock);
	if (length < 0)
		return length;
	return iov_copy_to(to, message, (size_t)length) == (size_t)length ? length : -EFAULT;
}

static void config_release(struct file *f)
{
	struct fs_config *c = f->private;
	super_put(c->super);
	kfree(c);
}

static const struct file_ops config_ops = { .read = config_read, .release = config_release, .stream = true };

// ---- a new one ----

// Consumes the reference of `s`.
static long config_open(struct fs_type *t, struct super *s, enum phase phase, bool cloexec)
{
	struct fs_config *c = kalloc(sizeof(*c));
	if (!c) {
		super_put(s);
		return -ENOMEM;
	}
	mutex_init(&c->lock);
	c->phase = phase;
	c->type = t;
	c->super = s;
	struct file *f = file_create_anonymous("anon_inode:[fscontext]", &config_ops, c, O_RDWR, 0600);
	if (!is_err(f))
		return fd_install_new(f, cloexec);
	super_put(s);
	kfree(c);
	return ptr_err(f);
}

// A string of a program's of less than `size` bytes.
static int text_get(char *to, struct uptr from, size_t size)
{
	long length = string_from_user(to, from, size);
	return length >= 0 ? 0 : length == -ENAMETOOLONG ? -EINVAL : (int)length;
}

long sys_fsopen(struct uptr type_name, unsigned flags)
{
	char name[TEXT_BYTES];
	if (!mount_may())
		return -EPERM;
	if (flags & ~(unsigned)FSOPEN_CLOEXEC)
		return -EINVAL;
	int error = text_get(name, type_name, sizeof(name));
	if (error)
		return error;
	struct fs_type *t = fs_type_find(name);
	return t ? config_open(t, NULL, CREATE_PARAMETERS, flags & FSOPEN_CLOEXEC) : -ENODEV;
}

long sys_fspick(int dir, struct uptr path, unsigned flags)
{
	struct path p;
	if (!mount_may())
		return -EPERM;
	if (flags & ~(unsigned)(FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW | FSPICK_NO_AUTOMOUNT | FSPICK_EMPTY_PATH))
		return -EINVAL;
	int error = path_lookup_user(dir, path,
				     (flags & FSPICK_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
					     (flags & FSPICK_EMPTY_PATH ? LOOKUP_EMPTY : 0),
				     &p);
	if (error)
		return error;
	long result = -EINVAL;
	if (path_is_mount(&p)) {
		struct super *s = p.mount->super;
		refcount_get(&s->refs);
		result = config_open((struct fs_type *)s->type, s, CHANGE_PARAMETERS, flags & FSPICK_CLOEXEC);
	}
	path_put(&p);
	return result;
}

// ---- parameters ----

// Those that every file system has. Writes go through at once, times are stored with them, and there are no mandatory locks: only
// ro and rw have effect.
static bool set_common(struct fs_config *c, const char *key)
{
	static const char *const without_effect[] = { "dirsync", "lazytime",   "mand",   "sync",
						      "async",   "nolazytime", "nomand", NULL };
	if (!strcmp(key, "ro") || !strcmp(key, "rw")) {
		c->has_chosen = MS_RDONLY;
		c->readonly = key[1] == 'o' ? MS_RDONLY : 0;
		return true;
	}
	for (unsigned i = 0; without_effect[i]; i++)
		if (!strcmp(key, without_effect[i]))
			return true;
	return false;
}

static int set_source(struct fs_config *c, const char *value)
{
	if (!value || c->has_source) {
		tell(c, value ? "e Multiple sources\n" : "e Non-string source\n", "");
		return -EINVAL;
	}
	string_copy(c->source, value, sizeof(c->source));
	c->has_source = true;
	return 0;
}

// 0, -ENOENT: no such parameter, -EINVAL: not such a value.
static int check_own(const struct fs_config *c, const char *key, const char *value)
{
	if ((value && strchr(value, ',')) || strchr(key, ',') || strchr(key, '='))
		return -EINVAL; // the text could not be taken apart again
	if (c->type->flags & FS_ANY_OPTION)
		return 0;
	return c->type->check_option ? c->type->check_option(key, value) : -ENOENT;
}

static int keep(struct fs_config *c, const char *key, const char *value)
{
	size_t room = sizeof(c->options) - c->options_length;
	int length = fmt_print(c->options + c->options_length, room, "%s%s%s%s", c->options_length ? "," : "", key,
			       value ? "=" : "", value ? value : "");
	if ((size_t)length >= room) {
		c->options[c->options_length] = 0;
		return -EINVAL;
	}
	c->options_length += (size_t)length;
	return 0;
}

// value NULL: a flag. is_text: or else it is neither flag nor string, and no file system here takes it.
static int set(struct fs_config *c, const char *key, const char *value, bool is_text)
{
	if (c->phase != CREATE_PARAMETERS && c->phase != CHANGE_PARAMETERS)
		return -EBUSY;
	if (set_common(c, key))
		return 0;
	if (!strcmp(key, "source"))
		return set_source(c, value);
	int error = check_own(c, key, value);
	if (error) {
		tell(c, error == -ENOENT ? "e %s: Unknown parameter '%s'\n" : "e %s: Bad value for '%s'\n", key);
		return -EINVAL;
	}
	if (is_text)
		return keep(c, key, value);
	tell(c, "e %s: Bad value for '%s'\n", key);
	return -EINVAL;
}

// ---- fsconfig ----

static const char *text_or_null(const char *text, bool given) { return given ? text : NULL; }

static int create(struct fs_config *c)
{
	if (c->phase != CREATE_PARAMETERS)
		return -EBUSY;
	int error = super_mount(c->type, text_or_null(c->source, c->has_source), c->readonly,
				text_or_null(c->options, c->options_length), &c->super);
	if (error != -EPERM) // a right that is missing is asked for before anything is tried
		c->phase = error ? FAILED : AWAITING_MOUNT;
	return error;
}

// From here on it can be changed, and nothing was said yet.
static void begin_change(struct fs_config *c)
{
	c->phase = CHANGE_PARAMETERS;
	c->options_length = 0;
	c->options[0] = 0;
	c->has_chosen = c->readonly = 0;
	c->has_source = false;
}

static int reconfigure(struct fs_config *c)
{
	if (c->phase != CHANGE_PARAMETERS)
		return -EBUSY;
	rwsem_write_lock(&mount_lock);
	int error = super_reconfigure(c->super, (c->super->flags & MS_RDONLY & ~c->has_chosen) | c->readonly,
				      text_or_null(c->options, c->options_length));
	rwsem_write_unlock(&mount_lock);
	if (error)
		c->phase = FAILED;
	else
		begin_change(c);
	return error;
}

// Which of key, value and aux a command takes, and how.
static int check_arguments(unsigned command, bool key, bool value, int aux)
{
	switch (command) {
	case FSCONFIG_SET_FLAG: return key && !value && !aux ? 0 : -EINVAL;
	case FSCONFIG_SET_STRING: return key && value && !aux ? 0 : -EINVAL;
	case FSCONFIG_SET_BINARY: return key && value && aux > 0 && aux <= BINARY_BYTES ? 0 : -EINVAL;
	case FSCONFIG_SET_PATH:
	case FSCONFIG_SET_PATH_EMPTY: return key && value && (aux == AT_FDCWD || aux >= 0) ? 0 : -EINVAL;
	case FSCONFIG_SET_FD: return key && !value && aux >= 0 ? 0 : -EINVAL;
	case FSCONFIG_CMD_CREATE:
	case FSCONFIG_CMD_RECONFIGURE: return !key && !value && !aux ? 0 : -EINVAL;
	default: return -EOPNOTSUPP;
	}
}

static int check_descriptor(int fd)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	file_put(f);
	return 0;
}

static int configure(struct fs_config *c, unsigned command, struct uptr key_name, struct uptr value_text, int aux)
{
	char key[TEXT_BYTES], value[TEXT_BYTES];
	bool is_string = command == FSCONFIG_SET_STRING, is_text = is_string || command == FSCONFIG_SET_FLAG;
	int error = 0;
	if (!uptr_is_null(key_name)) {
		if (!is_text && c->type->flags & FS_ANY_OPTION)
			return -EOPNOTSUPP;
		error = text_get(key, key_name, sizeof(key));
	}
	if (!error && is_string)
		error = text_get(value, value_text, sizeof(value));
	if (!error && command == FSCONFIG_SET_FD)
		error = check_descriptor(aux);
	if (error)
		return error;
	mutex_lock(&c->lock);
	error = command == FSCONFIG_CMD_CREATE        ? create(c)
		: command == FSCONFIG_CMD_RECONFIGURE ? reconfigure(c)
						      : set(c, key, text_or_null(value, is_string), is_text);
	mutex_unlock(&c->lock);
	return error;
}

// *out: of the descriptor, whose file is referenced.
static int config_get(int fd, struct file **out)
{
	*out = fd_get(fd);
	if (!*out)
		return -EBADF;
	if ((*out)->ops == &config_ops)
		return 0;
	file_put(*out);
	return -EINVAL;
}

long sys_fsconfig(int fd, unsigned command, struct uptr key_name, struct uptr value, int aux)
{
	struct file *f;
	if (fd < 0)
		return -EINVAL;
	int error = check_arguments(command, !uptr_is_null(key_name), !uptr_is_null(value), aux);
	if (!error)
		error = config_get(fd, &f);
	if (error)
		return error;
	error = configure(f->private, command, key_name, value, aux);
	file_put(f);
	return error;
}

// ---- fsmount ----

static struct mount *new_mount(struct fs_config *c, uint32_t flags)
{
	if (!c->super)
		return err_ptr(-EINVAL);
	if (c->phase != AWAITING_MOUNT)
		return err_ptr(-EBUSY);
	refcount_get(&c->super->refs);
	struct mount *m = mount_create(c->super, c->super->root, flags, text_or_null(c->source, c->has_source));
	if (!m) {
		super_put(c->super);
		return err_ptr(-ENOMEM);
	}
	begin_change(c);
	return m;
}

long sys_fsmount(int fd, unsigned flags, unsigned attributes)
{
	uint32_t mount_flags;
	struct file *f;
	if (!mount_may())
		return -EPERM;
	if (flags & ~(unsigned)FSMOUNT_CLOEXEC)
		return -EINVAL;
	int error = mount_attributes_flags(attributes, &mount_flags);
	if (!error)
		error = config_get(fd, &f);
	if (error)
		return error;
	struct fs_config *c = f->private;
	mutex_lock(&c->lock);
	struct mount *m = new_mount(c, mount_flags);
	mutex_unlock(&c->lock);
	file_put(f);
	if (is_err(m))
		return ptr_err(m);
	f = mount_detached_open(m);
	return is_err(f) ? ptr_err(f) : fd_install_new(f, flags & FSMOUNT_CLOEXEC);
}
