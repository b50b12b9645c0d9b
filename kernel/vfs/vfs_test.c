// SPDX-License-Identifier: Apache-2.0
// The VFS over tmpfs: path walk, names, descriptors, pipes, record locks. Random operations run against simple models.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test_support.h"

#include <asm/stat.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/resource.h>

#include "kernel/pipe.h"
#include "lock.h"

static int group_setup(void **state)
{
	fake_kernel_create();
	return 0;
}

static long make_file(const char *path, const char *text)
{
	long fd = sys_open(U(path), O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (fd < 0)
		return fd;
	if (text)
		assert_int_equal(sys_write((int)fd, U(text), strlen(text)), strlen(text));
	return sys_close((int)fd);
}

static long file_type(const char *path)
{
	struct stat s;
	long result = sys_stat(U(path), U(&s));
	return result ? result : (long)(s.st_mode & S_IFMT);
}

// ---- path walk ----

static void walk_finds_what_is_there(void **state)
{
	assert_int_equal(sys_mkdir(U("/a"), 0755), 0);
	assert_int_equal(sys_mkdir(U("/a/b/"), 0755), 0);
	assert_int_equal(make_file("/a/b/f", "hello"), 0);
	assert_int_equal(file_type("/a/b/f"), S_IFREG);
	assert_int_equal(file_type("//a/./b/../b//f"), S_IFREG);
	assert_int_equal(file_type("/../../a"), S_IFDIR);
	assert_int_equal(file_type("/a/b/f/"), -ENOTDIR);
	assert_int_equal(file_type("/a/b/f/x"), -ENOTDIR);
	assert_int_equal(file_type("/a/none"), -ENOENT);
	assert_int_equal(file_type("/a/none/x"), -ENOENT);
	assert_int_equal(file_type(""), -ENOENT);
	char name[300];
	memset(name, 'n', sizeof(name));
	name[0] = '/';
	name[256] = 0;
	assert_int_equal(file_type(name), -ENOENT);
	name[256] = 'n';
	name[257] = 0;
	assert_int_equal(file_type(name), -ENAMETOOLONG);
	assert_int_equal(sys_mkdir(U("/a"), 0755), -EEXIST);
	assert_int_equal(sys_mkdir(U("/"), 0755), -EEXIST);
	assert_int_equal(sys_rmdir(U("/a")), -ENOTEMPTY);
	assert_int_equal(sys_rmdir(U("/a/.")), -EINVAL);
	assert_int_equal(sys_rmdir(U("/a/b/..")), -ENOTEMPTY);
	assert_int_equal(sys_unlink(U("/a/b")), -EISDIR);
	assert_int_equal(sys_rmdir(U("/a/b/f")), -ENOTDIR);
	assert_int_equal(sys_unlink(U("/a/b/f/")), -ENOTDIR);
}

static void links_are_followed(void **state)
{
	assert_int_equal(sys_mkdir(U("/l"), 0755), 0);
	assert_int_equal(make_file("/l/file", "x"), 0);
	assert_int_equal(sys_symlink(U("file"), U("/l/one")), 0);
	assert_int_equal(sys_symlink(U("/l/../l/one"), U("/l/two")), 0);
	assert_int_equal(sys_symlink(U("../l"), U("/l/dir")), 0);
	assert_int_equal(sys_symlink(U("loop"), U("/l/loop")), 0);
	assert_int_equal(sys_symlink(U("nowhere"), U("/l/dangling")), 0);
	assert_int_equal(file_type("/l/two"), S_IFREG);
	assert_int_equal(file_type("/l/dir/dir/dir/two"), S_IFREG);
	assert_int_equal(file_type("/l/loop"), -ELOOP);
	assert_int_equal(file_type("/l/dangling"), -ENOENT);
	assert_int_equal(file_type("/l/one/"), -ENOTDIR);
	struct stat s;
	assert_int_equal(sys_lstat(U("/l/two"), U(&s)), 0);
	assert_int_equal(s.st_mode, S_IFLNK | 0777);
	assert_int_equal(s.st_size, 11);
	assert_int_equal(sys_lstat(U("/l/dir/"), U(&s)), 0);
	assert_int_equal(s.st_mode & S_IFMT, S_IFDIR);
	char chain[32], target[32];
	for (int k = 0; k < 41; k++) { // chain40 -> chain39 -> ... -> chain0 -> file
		chain[0] = 0;
		string_copy(chain, "/l/chain00", sizeof(chain));
		string_copy(target, k ? "chain00" : "file", sizeof(target));
		chain[8] = (char)('0' + k / 10);
		chain[9] = (char)('0' + k % 10);
		if (k) {
			target[5] = (char)('0' + (k - 1) / 10);
			target[6] = (char)('0' + (k - 1) % 10);
		}
		assert_int_equal(sys_symlink(U(target), U(chain)), 0);
	}
	assert_int_equal(file_type("/l/chain39"), S_IFREG); // 40 links
	assert_int_equal(file_type("/l/chain40"), -ELOOP);  // 41
	// Creating through a dangling link makes its target.
	assert_int_equal(make_file("/l/dangling", "y"), 0);
	assert_int_equal(file_type("/l/nowhere"), S_IFREG);
	assert_int_equal(sys_open(U("/l/one"), O_NOFOLLOW | O_RDONLY, 0), -ELOOP);
	assert_int_equal(sys_open(U("/l/one"), O_CREAT | O_EXCL | O_RDWR, 0600), -EEXIST);
	assert_int_equal(sys_open(U("/l"), O_CREAT | O_RDWR, 0600), -EISDIR);
	assert_int_equal(sys_open(U("/l/new/"), O_CREAT | O_RDWR, 0600), -EISDIR);
	char text[32];
	assert_int_equal(sys_readlink(U("/l/two"), U(text), sizeof(text)), 11);
	assert_memory_equal(text, "/l/../l/one", 11);
	assert_int_equal(sys_readlink(U("/l/two"), U(text), 3), 3);
	assert_int_equal(sys_readlink(U("/l/file"), U(text), 3), -EINVAL);
}

static long open2(int dir, const char *path, uint64_t resolve)
{
	struct open_how how = { .flags = O_PATH, .resolve = resolve };
	long fd = sys_openat2(dir, U(path), U(&how), sizeof(how));
	return fd < 0 ? fd : sys_close((int)fd);
}

static void resolve_flags_confine(void **state)
{
	assert_int_equal(sys_mkdir(U("/r"), 0755), 0);
	assert_int_equal(sys_mkdir(U("/r/in"), 0755), 0);
	assert_int_equal(sys_symlink(U("/l"), U("/r/abs")), 0);
	assert_int_equal(sys_symlink(U("../.."), U("/r/in/up")), 0);
	int dir = (int)sys_open(U("/r"), O_PATH, 0);
	assert_true(dir >= 0);
	assert_int_equal(open2(dir, "in", RESOLVE_BENEATH), 0);
	assert_int_equal(open2(dir, "in/../in", RESOLVE_BENEATH), 0);
	assert_int_equal(open2(dir, "..", RESOLVE_BENEATH), -EXDEV);
	assert_int_equal(open2(dir, "/r", RESOLVE_BENEATH), -EXDEV);
	assert_int_equal(open2(dir, "abs", RESOLVE_BENEATH), -EXDEV);
	assert_int_equal(open2(dir, "in/up", RESOLVE_BENEATH), -EXDEV);
	assert_int_equal(open2(dir, "in/up/in", RESOLVE_IN_ROOT), 0);
	assert_int_equal(open2(dir, "/in", RESOLVE_IN_ROOT), 0);
	assert_int_equal(open2(dir, "in/up", RESOLVE_NO_SYMLINKS), -ELOOP);
	assert_int_equal(sys_close(dir), 0);
}

static void permissions_are_checked(void **state)
{
	assert_int_equal(sys_mkdir(U("/p"), 0755), 0);
	assert_int_equal(sys_mkdir(U("/p/closed"), 0700), 0);
	assert_int_equal(sys_mkdir(U("/p/sticky"), 0777), 0);
	assert_int_equal(sys_chmod(U("/p/sticky"), 01777), 0);
	assert_int_equal(make_file("/p/closed/f", "x"), 0);
	assert_int_equal(make_file("/p/sticky/roots", "x"), 0);
	struct cred *user = cred_copy(current->cred, 0);
	const struct cred *root = current->cred;
	user->uid = user->euid = user->fsuid = 1000;
	user->gid = user->fsgid = 1000;
	user->cap_effective = user->cap_permitted = 0;
	current->cred = user;
	assert_int_equal(file_type("/p/closed/f"), -EACCES);
	assert_int_equal(make_file("/p/new", NULL), -EACCES);
	assert_int_equal(sys_unlink(U("/p/sticky/roots")), -EPERM);
	assert_int_equal(make_file("/p/sticky/mine", NULL), 0);
	assert_int_equal(sys_chown(U("/p/sticky/mine"), 0, 0), -EPERM);
	assert_int_equal(sys_chmod(U("/p/sticky/mine"), 04755), 0);
	assert_int_equal(sys_chmod(U("/p/sticky/roots"), 0777), -EPERM);
	assert_int_equal(sys_unlink(U("/p/sticky/mine")), 0);
	assert_int_equal(sys_access(U("/p/closed"), 4), -EACCES);
	assert_int_equal(sys_access(U("/p"), 5), 0);
	current->cred = root;
	cred_put(user);
}

// ---- names against a model ----

#define NAMES 6
#define STEPS 20000

// Files f0.. in /m/d0 and /m/d1: which content is under which name.
static void random_names_agree_with_a_model(void **state)
{
	int content[2][NAMES], links[STEPS + 1], next = 1;
	memset(content, 0, sizeof(content));
	memset(links, 0, sizeof(links));
	assert_int_equal(sys_mkdir(U("/m"), 0755), 0);
	assert_int_equal(sys_mkdir(U("/m/d0"), 0755), 0);
	assert_int_equal(sys_mkdir(U("/m/d1"), 0755), 0);
	srand(7);
	for (int step = 0; step < STEPS; step++) {
		int d = rand() % 2, n = rand() % NAMES, e = rand() % 2, m = rand() % NAMES;
		char a[16] = "/m/d0/f0", b[16] = "/m/d0/f0";
		a[4] = (char)('0' + d);
		a[7] = (char)('0' + n);
		b[4] = (char)('0' + e);
		b[7] = (char)('0' + m);
		int *from = &content[d][n], *to = &content[e][m];
		switch (rand() % 6) {
		case 0: // create exclusively
		{
			long fd = sys_open(U(a), O_CREAT | O_EXCL | O_WRONLY, 0600);
			assert_int_equal(fd < 0 ? fd : 0, *from ? -EEXIST : 0);
			if (fd >= 0) {
				assert_int_equal(sys_write((int)fd, U(&next), sizeof(next)), sizeof(next));
				sys_close((int)fd);
				*from = next++;
				links[*from] = 1;
			}
			break;
		}
		case 1:
			assert_int_equal(sys_unlink(U(a)), *from ? 0 : -ENOENT);
			links[*from]--;
			*from = 0;
			break;
		case 2:
			assert_int_equal(sys_link(U(a), U(b)), !*from ? -ENOENT : *to ? -EEXIST : 0);
			if (*from && !*to) {
				*to = *from;
				links[*to]++;
			}
			break;
		case 3:
			assert_int_equal(sys_rename(U(a), U(b)), *from ? 0 : -ENOENT);
			if (*from && *from != *to) {
				links[*to]--;
				*to = *from;
				*from = 0;
			}
			break;
		case 4: {
			assert_int_equal(sys_renameat2(AT_FDCWD, U(a), AT_FDCWD, U(b), RENAME_EXCHANGE),
					 *from && *to ? 0 : -ENOENT);
			if (*from && *to) {
				int swap = *from;
				*from = *to;
				*to = swap;
			}
			break;
		}
		case 5: {
			struct stat s;
			long result = sys_stat(U(a), U(&s));
			assert_int_equal(result, *from ? 0 : -ENOENT);
			if (result)
				break;
			assert_int_equal(s.st_nlink, links[*from]);
			long fd = sys_open(U(a), O_RDONLY, 0);
			int seen = 0;
			assert_int_equal(sys_read((int)fd, U(&seen), sizeof(seen)), sizeof(seen));
			assert_int_equal(seen, *from);
			sys_close((int)fd);
			break;
		}
		}
	}
}

static void directories_move(void **state)
{
	assert_int_equal(sys_mkdir(U("/v"), 0755), 0);
	assert_int_equal(sys_mkdir(U("/v/a"), 0755), 0);
	assert_int_equal(sys_mkdir(U("/v/a/b"), 0755), 0);
	assert_int_equal(sys_mkdir(U("/v/c"), 0755), 0);
	assert_int_equal(sys_rename(U("/v/a"), U("/v/a/b/x")), -EINVAL);
	assert_int_equal(sys_rename(U("/v/a/b"), U("/v/a")), -ENOTEMPTY);
	assert_int_equal(make_file("/v/f", "x"), 0);
	assert_int_equal(sys_rename(U("/v/a"), U("/v/f")), -ENOTDIR);
	assert_int_equal(sys_rename(U("/v/f"), U("/v/a")), -EISDIR);
	assert_int_equal(sys_rename(U("/v/f"), U("/v/g/")), -ENOTDIR);
	assert_int_equal(sys_chdir(U("/v/a/b")), 0);
	assert_int_equal(sys_rename(U("/v/a"), U("/v/c")), 0); // over an empty directory
	char cwd[64];
	assert_int_equal(sys_getcwd(U(cwd), sizeof(cwd)), 7);
	assert_string_equal(cwd, "/v/c/b");
	assert_int_equal(file_type("../../f"), S_IFREG);
	assert_int_equal(sys_renameat2(AT_FDCWD, U("/v/f"), AT_FDCWD, U("/v/c"), RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(sys_rmdir(U("/v/c/b")), 0);
	assert_int_equal(sys_getcwd(U(cwd), sizeof(cwd)), -ENOENT);
	assert_int_equal(make_file("gone", NULL), -ENOENT);
	assert_int_equal(sys_chdir(U("/")), 0);
	struct stat s;
	assert_int_equal(sys_stat(U("/v"), U(&s)), 0);
	assert_int_equal(s.st_nlink, 3);
}

static unsigned count_entries(const char *path, unsigned buffer_size)
{
	char buffer[4096];
	unsigned count = 0;
	int fd = (int)sys_open(U(path), O_RDONLY | O_DIRECTORY, 0);
	long n;
	while ((n = sys_getdents64(fd, U(buffer), buffer_size)) > 0)
		for (long at = 0; at < n; at += *(uint16_t *)(buffer + at + 16))
			count++;
	assert_int_equal(n, 0);
	sys_close(fd);
	return count;
}

static void every_entry_is_read_once(void **state)
{
	assert_int_equal(sys_mkdir(U("/e"), 0755), 0);
	char name[16] = "/e/000";
	for (int k = 0; k < 300; k++) {
		name[3] = (char)('0' + k / 100);
		name[4] = (char)('0' + k / 10 % 10);
		name[5] = (char)('0' + k % 10);
		assert_int_equal(make_file(name, NULL), 0);
	}
	assert_int_equal(count_entries("/e", 4096), 302);
	assert_int_equal(count_entries("/e", 32), 302);
	char tiny[8];
	int fd = (int)sys_open(U("/e"), O_RDONLY, 0);
	assert_int_equal(sys_getdents64(fd, U(tiny), sizeof(tiny)), -EINVAL);
	sys_close(fd);
}

static void mount_points_are_made_up(void **state)
{
	assert_int_equal(mount_at("tmpfs", "none", "/made/up/point", 0, NULL), 0);
	assert_int_equal(file_type("/made/up/point"), S_IFDIR);
	assert_int_equal(make_file("/made/up/point/f", "x"), 0);
	assert_int_equal(make_file("/made/up/f", "x"), -EACCES);
	assert_int_equal(count_entries("/made", 4096), 3);
	assert_int_equal(sys_rmdir(U("/made")), -EBUSY);
	assert_int_equal(sys_rename(U("/made/up/point/f"), U("/f")), -EXDEV);
	assert_int_equal(file_type("/made/up/point/../point/f"), S_IFREG);
	assert_int_equal(sys_umount2(U("/made/up/point"), 0), 0);
	assert_int_equal(file_type("/made/up/point/f"), -ENOENT);
}

static void unused_names_are_reclaimed(void **state)
{
	char name[16] = "/none00";
	for (int k = 0; k < 100; k++) {
		name[5] = (char)('0' + k / 10);
		name[6] = (char)('0' + k % 10);
		assert_int_equal(file_type(name), -ENOENT);
	}
	struct dentry_stats before, after;
	dentry_stats_get(&before);
	while (dentry_shrink(1000))
		;
	dentry_shrink(100000);
	dentry_shrink(100000);
	dentry_stats_get(&after);
	assert_true(after.dentries + 100 <= before.dentries);
	assert_int_equal(after.unused, 0);
	assert_int_equal(file_type("/a/b/f"), S_IFREG);
}

// ---- reading and writing ----

static void vectors_and_faults(void **state)
{
	int fd = (int)sys_open(U("/vec"), O_CREAT | O_RDWR, 0600);
	struct {
		uint64_t base, size;
	} v[3] = { { (uint64_t) "abc", 3 }, { 1, 0 }, { (uint64_t) "defgh", 5 } };
	assert_int_equal(sys_writev(fd, U(v), 3), 8);
	char text[16] = "";
	assert_int_equal(sys_pread64(fd, U(text), 16, 2), 6);
	assert_string_equal(text, "cdefgh");
	assert_int_equal(sys_lseek(fd, -3, 2), 5);
	fake_fault_at = (uint64_t)text + 2;
	assert_int_equal(sys_read(fd, U(text), 3), 2); // up to the fault
	assert_int_equal(sys_read(fd, U(text + 2), 1), -EFAULT);
	fake_fault_at = UINT64_MAX;
	assert_int_equal(sys_read(fd, U(text), 3), 1);
	fake_process.rlimits[RLIMIT_FSIZE].rlim_cur = 10;
	assert_int_equal(sys_pwrite64(fd, U("xxxxx"), 5, 8), 2);
	assert_int_equal(sys_pwrite64(fd, U("xxxxx"), 5, 10), -EFBIG);
	assert_int_equal(fake_signal, SIGXFSZ);
	fake_process.rlimits[RLIMIT_FSIZE].rlim_cur = RLIM64_INFINITY;
	assert_int_equal(sys_ftruncate(fd, 3), 0);
	assert_int_equal(sys_ftruncate(fd, 6), 0);
	assert_int_equal(sys_pread64(fd, U(text), 16, 0), 6);
	assert_memory_equal(text, "abc\0\0\0", 6);
	assert_int_equal(sys_close(fd), 0);
	fd = (int)sys_open(U("/vec"), O_WRONLY | O_APPEND, 0);
	assert_int_equal(sys_write(fd, U("z"), 1), 1);
	assert_int_equal(sys_lseek(fd, 0, 1), 7);
	assert_int_equal(sys_read(fd, U(text), 1), -EBADF);
	assert_int_equal(sys_close(fd), 0);
	assert_int_equal(sys_close(fd), -EBADF);
}

static void iterators_revert(void **state)
{
	char data[64], out[64];
	struct iov_segment s[4] = { { (uint64_t)data, 10 },
				    { (uint64_t)data + 10, 0 },
				    { (uint64_t)data + 10, 20 },
				    { (uint64_t)data + 30, 34 } };
	for (int k = 0; k < 64; k++)
		data[k] = (char)k;
	srand(3);
	struct iov_iter i = { .segments = s, .segment_count = 4, .count = 64 };
	size_t at = 0;
	for (int step = 0; step < 10000; step++) {
		size_t n = (size_t)rand() % 20;
		if (rand() % 2) {
			size_t got = iov_copy_from(out, &i, n);
			assert_int_equal(got, min(n, 64 - at));
			assert_memory_equal(out, data + at, got);
			at += got;
		} else {
			n = min(n, at);
			iov_revert(&i, n);
			at -= n;
		}
		assert_int_equal(i.count, 64 - at);
	}
}

// ---- descriptors ----

static void descriptors_agree_with_a_model(void **state)
{
	int base = (int)sys_open(U("/a"), O_RDONLY, 0);
	enum { MAX = 300 };
	static bool open[MAX];
	open[base] = true;
	srand(5);
	for (int step = 0; step < 30000; step++) {
		int fd = rand() % MAX, lowest;
		switch (rand() % 4) {
		case 0:
		case 1:
			for (lowest = rand() % 20; lowest < MAX && open[lowest]; lowest++)
				;
			if (lowest == MAX)
				break;
			for (fd = lowest; fd > 0 && !open[fd - 1]; fd--)
				;
			assert_int_equal(sys_fcntl(base, F_DUPFD, (uint64_t)fd), fd);
			open[fd] = true;
			break;
		case 2:
			if (fd == base)
				break;
			assert_int_equal(sys_close(fd), open[fd] ? 0 : -EBADF);
			open[fd] = false;
			break;
		case 3:
			if (fd == base)
				break;
			assert_int_equal(sys_dup2(base, fd), fd);
			open[fd] = true;
			break;
		}
	}
	struct files *copy = files_copy(current->files);
	for (int fd = 0; fd < MAX; fd++) {
		struct file *f = files_lookup(copy, fd);
		assert_int_equal(f != NULL, open[fd]);
		file_put(f);
	}
	files_put(copy);
	fake_process.rlimits[RLIMIT_NOFILE].rlim_cur = 20;
	for (int fd = 0; fd < 20; fd++)
		if (fd != base)
			sys_dup2(base, fd);
	assert_int_equal(sys_dup(base), -EMFILE);
	assert_int_equal(sys_dup2(base, 20), -EBADF);
	fake_process.rlimits[RLIMIT_NOFILE].rlim_cur = 1024;
	assert_int_equal(sys_close_range(0, UINT32_MAX, 0), 0);
	assert_int_equal(files_max_open(current->files), 0);
	assert_int_equal(sys_dup(base), -EBADF);
}

// ---- pipes ----

static void pipe_keeps_order(void **state)
{
	int fds[2];
	assert_int_equal(sys_pipe2(U(fds), O_NONBLOCK), 0);
	static unsigned char out[100000], in[100000];
	uint64_t written = 0, read = 0;
	for (size_t k = 0; k < sizeof(out); k++)
		out[k] = (unsigned char)(k * 31 >> 3);
	srand(11);
	while (read < sizeof(out)) {
		size_t n = (size_t)rand() % (rand() % 4 ? 200 : 9000);
		if (rand() % 2) {
			n = min(n, sizeof(out) - written);
			long got = sys_write(fds[1], U(out + written), n);
			assert_true(got >= 0 || got == -EAGAIN);
			if (got > 0 && n <= 4096)
				assert_int_equal(got, n); // all or nothing
			written += got > 0 ? (uint64_t)got : 0;
		} else {
			long got = sys_read(fds[0], U(in + read), min(n, sizeof(in) - read));
			assert_true(got >= 0 || (got == -EAGAIN && written == read));
			read += got > 0 ? (uint64_t)got : 0;
		}
		assert_true(written - read <= 65536);
	}
	assert_memory_equal(in, out, sizeof(in));
	long total = 0, got;
	while ((got = sys_write(fds[1], U(out), 4096)) > 0)
		total += got;
	assert_int_equal(total, 65536);
	assert_int_equal(sys_fcntl(fds[0], F_GETPIPE_SZ, 0), 65536);
	assert_int_equal(sys_fcntl(fds[0], F_SETPIPE_SZ, 4096), -EBUSY);
	assert_int_equal(sys_fcntl(fds[0], F_SETPIPE_SZ, 100000), 131072);
	assert_int_equal(sys_close(fds[0]), 0);
	assert_int_equal(sys_write(fds[1], U(out), 1), -EPIPE);
	assert_int_equal(fake_signal, SIGPIPE);
	assert_int_equal(sys_close(fds[1]), 0);
}

static void packets_and_fifos(void **state)
{
	int fds[2];
	char text[8];
	assert_int_equal(sys_pipe2(U(fds), O_DIRECT | O_NONBLOCK), 0);
	assert_int_equal(sys_write(fds[1], U("one"), 3), 3);
	assert_int_equal(sys_write(fds[1], U("two"), 3), 3);
	assert_int_equal(sys_read(fds[0], U(text), 2), 2);
	assert_int_equal(sys_read(fds[0], U(text), 8), 3);
	assert_memory_equal(text, "two", 3);
	sys_close(fds[1]);
	assert_int_equal(sys_read(fds[0], U(text), 8), 0);
	sys_close(fds[0]);
	assert_int_equal(sys_mknod(U("/fifo"), S_IFIFO | 0600, 0), 0);
	assert_int_equal(sys_open(U("/fifo"), O_WRONLY | O_NONBLOCK, 0), -ENXIO);
	int r = (int)sys_open(U("/fifo"), O_RDONLY | O_NONBLOCK, 0), w = (int)sys_open(U("/fifo"), O_WRONLY, 0);
	assert_true(r >= 0 && w >= 0);
	assert_int_equal(sys_write(w, U("x"), 1), 1);
	assert_int_equal(sys_read(r, U(text), 8), 1);
	sys_close(r);
	sys_close(w);
	assert_int_equal(sys_open(U("/fifo"), O_RDONLY, 0), -ERESTARTSYS);
	assert_int_equal(sys_unlink(U("/fifo")), 0);
}

// ---- record locks against a byte-by-byte model ----

#define BYTES  25 // the last one stands for everything beyond
#define OWNERS 3

static void check_lock_list(struct list *locks, short model[OWNERS][BYTES])
{
	short seen[OWNERS][BYTES];
	struct file_lock *l, *k;
	memset(seen, 0, sizeof(seen));
	list_for_each (l, locks, node) {
		assert_true(l->start <= l->end);
		for (int64_t b = l->start; b <= l->end && b < BYTES; b++) {
			assert_int_equal(seen[(uintptr_t)l->owner][b], 0); // no overlap
			seen[(uintptr_t)l->owner][b] = (short)(l->type + 1);
		}
		list_for_each (k, locks, node) // and neighbours of one type are one lock
			if (k != l && k->owner == l->owner && k->type == l->type)
				assert_true(k->start - 1 > l->end || l->start - 1 > k->end);
	}
	assert_memory_equal(seen, model, sizeof(seen));
}

static void record_locks_agree_with_a_model(void **state)
{
	struct list locks = LIST_INIT(locks), dead = LIST_INIT(dead);
	short model[OWNERS][BYTES];
	memset(model, 0, sizeof(model));
	srand(17);
	for (int step = 0; step < 20000; step++) {
		struct file_lock *request = kalloc(sizeof(*request)), *spare = kalloc(sizeof(*spare));
		static const short types[] = { F_RDLCK, F_WRLCK, F_UNLCK };
		uintptr_t owner = (uintptr_t)rand() % OWNERS;
		int64_t start = rand() % (BYTES - 1),
			end = rand() % 5 ? start + rand() % (BYTES - 1 - (int)start) : INT64_MAX;
		*request = (struct file_lock){ .kind = LOCK_POSIX,
					       .type = types[rand() % 3],
					       .start = start,
					       .end = end,
					       .owner = (void *)owner };
		list_init(&request->node);
		list_init(&spare->node);
		bool conflict = false;
		for (uintptr_t o = 0; o < OWNERS && request->type != F_UNLCK; o++)
			for (int64_t b = start; b < BYTES && b <= end; b++)
				conflict |= o != owner && model[o][b] &&
					    (model[o][b] == F_WRLCK + 1 || request->type == F_WRLCK);
		if (request->type != F_UNLCK)
			assert_int_equal(lock_find_conflict(&locks, request) != NULL, conflict);
		if (conflict) {
			kfree(request);
			kfree(spare);
			continue;
		}
		for (int64_t b = start; b < BYTES && b <= end; b++)
			model[owner][b] = request->type == F_UNLCK ? 0 : (short)(request->type + 1);
		lock_apply(&locks, request, spare, &dead);
		check_lock_list(&locks, model);
		while (!list_empty(&dead)) {
			struct file_lock *l = list_first(&dead, struct file_lock, node);
			list_remove(&l->node);
			kfree(l);
		}
	}
	while (!list_empty(&locks)) {
		struct file_lock *l = list_first(&locks, struct file_lock, node);
		list_remove(&l->node);
		kfree(l);
	}
}

// ---- nothing is left over ----

static void nothing_leaks(void **state)
{
	dentry_shrink(100000);
	dentry_shrink(100000);
	assert_int_equal(file_count, 0);
	int64_t before = fake_allocated;
	for (int k = 0; k < 50; k++) {
		assert_int_equal(sys_mkdir(U("/leak"), 0755), 0);
		assert_int_equal(make_file("/leak/file", "content"), 0);
		assert_int_equal(sys_symlink(U("file"), U("/leak/link")), 0);
		int fd = (int)sys_open(U("/leak/link"), O_RDWR, 0);
		assert_int_equal(sys_rename(U("/leak/file"), U("/leak/other")), 0);
		assert_int_equal(sys_unlink(U("/leak/other")), 0);
		assert_int_equal(sys_write(fd, U("more"), 4), 4);
		assert_int_equal(sys_close(fd), 0);
		assert_int_equal(sys_unlink(U("/leak/link")), 0);
		assert_int_equal(sys_rmdir(U("/leak")), 0);
	}
	dentry_shrink(100000);
	dentry_shrink(100000);
	assert_int_equal(fake_allocated, before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walk_finds_what_is_there),
		cmocka_unit_test(links_are_followed),
		cmocka_unit_test(resolve_flags_confine),
		cmocka_unit_test(permissions_are_checked),
		cmocka_unit_test(random_names_agree_with_a_model),
		cmocka_unit_test(directories_move),
		cmocka_unit_test(every_entry_is_read_once),
		cmocka_unit_test(mount_points_are_made_up),
		cmocka_unit_test(unused_names_are_reclaimed),
		cmocka_unit_test(vectors_and_faults),
		cmocka_unit_test(iterators_revert),
		cmocka_unit_test(descriptors_agree_with_a_model),
		cmocka_unit_test(pipe_keeps_order),
		cmocka_unit_test(packets_and_fifos),
		cmocka_unit_test(record_locks_agree_with_a_model),
		cmocka_unit_test(nothing_leaks),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
