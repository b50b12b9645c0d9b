// SPDX-License-Identifier: Apache-2.0
// Do user and group ids change by the rules, and do they decide what a process may do?
#include "check.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/resource.h>

static void drop_for_good(void)
{
	uid_t r, e, s;

	CHECK_OK(setgroups(0, NULL));
	CHECK_OK(setresgid(1000, 1001, 1002));
	gid_t gr, ge, gs;
	CHECK_OK(getresgid(&gr, &ge, &gs));
	CHECK(gr == 1000 && ge == 1001 && gs == 1002);
	CHECK_OK(setuid(2000));
	CHECK_OK(getresuid(&r, &e, &s));
	CHECK(r == 2000 && e == 2000 && s == 2000);
	CHECK_ERR(setuid(0), EPERM);
	CHECK_ERR(setresuid(0, -1, -1), EPERM);
	CHECK_ERR(setgid(7), EPERM);
	CHECK_OK(setgid(1002)); // a saved id may become the effective one
	CHECK_EQ(getegid(), 1002);
	CHECK_ERR(setgroups(0, NULL), EPERM);
	CHECK_ERR(chown("file", 2000, 1000), EPERM);
	CHECK_ERR(open("secret", O_RDONLY), EACCES);
	CHECK_OK(open("file", O_RDONLY));
	CHECK_ERR(open("file", O_WRONLY), EACCES);
	CHECK_ERR(chmod("file", 0777), EPERM);
	CHECK_ERR(kill(getppid(), 0), EPERM);
	CHECK_ERR(mknod("node", S_IFCHR | 0600, 0x103), EPERM);
	CHECK_ERR(chroot("/"), EPERM);
	CHECK_ERR(access("secret", R_OK), EACCES);
	CHECK_ERR(mkdir("locked/x", 0700), EACCES);
	CHECK_ERR(access("locked/inside", F_OK), EACCES);
	CHECK_ERR(setpriority(0, 0, -5), EACCES);
	CHECK_ERR(sethostname("x", 1), EPERM);
}

static void swap_and_return(void)
{
	CHECK_OK(setresuid(-1, 3000, 0));
	CHECK_EQ(getuid(), 0);
	CHECK_EQ(geteuid(), 3000);
	CHECK_ERR(open("secret", O_RDONLY), EACCES);
	CHECK_OK(access("secret", R_OK)); // access asks with the real id
	CHECK_ERR(faccessat(AT_FDCWD, "secret", R_OK, AT_EACCESS), EACCES);
	CHECK_OK(seteuid(0));
	CHECK_OK(setreuid(5, 6));
	CHECK_EQ(getuid(), 5);
	CHECK_EQ(geteuid(), 6);
	CHECK_ERR(setreuid(0, -1), EPERM);
}

static void supplementary_groups(void)
{
	gid_t groups[70] = { 10, 20, 30 }, got[70];

	CHECK_OK(setgroups(3, groups));
	CHECK_EQ(getgroups(0, NULL), 3);
	CHECK_EQ(getgroups(70, got), 3);
	CHECK(got[0] == 10 && got[1] == 20 && got[2] == 30);
	CHECK_ERR(getgroups(2, got), EINVAL);
	CHECK_ERR(getgroups(-1, got), EINVAL);
	CHECK_ERR(setgroups(65537, groups), EINVAL);
	CHECK_OK(chown("file", 0, 20));
	CHECK_OK(chmod("file", 0060));
	CHECK_OK(setgid(99));
	CHECK_OK(setuid(99));
	CHECK_OK(open("file", O_RDWR)); // by its supplementary group
}

static void file_system_ids(void)
{
	CHECK_EQ(setfsuid(4000), 0);
	CHECK_EQ(setfsuid(-1), 4000);
	CHECK_ERR(open("secret", O_RDONLY), EACCES);
	int fd = CHECK_OK(open("owned", O_CREAT | O_WRONLY, 0600));
	struct stat st;
	CHECK_OK(fstat(fd, &st));
	CHECK_EQ(st.st_uid, 4000);
	CHECK_EQ(setfsuid(0), 4000);
	CHECK_OK(open("secret", O_RDONLY));
	CHECK_EQ(setfsgid(7), 0);
	CHECK_EQ(setfsgid(0), 7);
}

static void capabilities(void)
{
	struct __user_cap_header_struct header = { .version = 0 };
	struct __user_cap_data_struct data[2];

	CHECK_ERR(syscall(SYS_capget, &header, data), EINVAL);
	CHECK_EQ(header.version, _LINUX_CAPABILITY_VERSION_3);
	header.pid = 0;
	CHECK_OK(syscall(SYS_capget, &header, data));
	CHECK(data[0].effective & (1u << CAP_CHOWN));
	data[0].effective &= ~(1u << CAP_DAC_OVERRIDE);
	data[0].effective &= ~(1u << CAP_DAC_READ_SEARCH);
	CHECK_OK(syscall(SYS_capset, &header, data));
	CHECK_OK(chown("secret", 1, 1));
	CHECK_ERR(open("secret", O_RDONLY), EACCES);
	CHECK_OK(setuid(1));
	CHECK_OK(syscall(SYS_capget, &header, data));
	CHECK_EQ(data[0].effective, 0);
	CHECK_EQ(data[0].permitted, 0);
}

static void *change_in_thread(void *argument)
{
	(void)argument;
	return (void *)(long)setuid(1234);
}

static void ids_are_a_thread_matter_to_the_kernel(void)
{
	pthread_t thread;
	void *result;

	// The raw call changes one thread; the C library's changes all.
	CHECK_EQ(pthread_create(&thread, NULL, change_in_thread, NULL), 0);
	pthread_join(thread, &result);
	CHECK_EQ((long)result, 0);
	CHECK_EQ(getuid(), 1234);
}

static void setuid_program(void)
{
	// A file's set-user-id bits are dropped when it is written or changes owner.
	struct stat st;
	CHECK_OK(chmod("file", 06755));
	CHECK_OK(chown("file", 5, 5));
	CHECK_OK(stat("file", &st));
	CHECK_EQ(st.st_mode & 07777, 0755);
}

int main(void)
{
	if (getuid() != 0)
		CHECK_SKIP("needs root");
	check_tmpdir();
	check_write_file("file", "public");
	check_write_file("secret", "secret");
	chmod("secret", 0600);
	CHECK_OK(mkdir("locked", 0700));
	check_write_file("locked/inside", "");
	CHECK_CHILD(drop_for_good);
	CHECK_CHILD(swap_and_return);
	CHECK_CHILD(file_system_ids);
	CHECK_CHILD(supplementary_groups);
	CHECK_CHILD(ids_are_a_thread_matter_to_the_kernel);
	CHECK_CHILD(setuid_program);
	CHECK_CHILD(capabilities);
	return check_done();
}
