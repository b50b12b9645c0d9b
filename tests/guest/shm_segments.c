// SPDX-License-Identifier: Apache-2.0
// System V shared memory: do segments live, attach, show and go as shmget(2) and its kin say?
#include "check.h"

#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

static int attached(int id)
{
	struct shmid_ds d;

	return shmctl(id, IPC_STAT, &d) ? -1 : (int)d.shm_nattch;
}

int main(void)
{
	int id = shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600);
	CHECK(id >= 0);
	char *a = shmat(id, NULL, 0);
	CHECK(a != (char *)-1);
	for (int i = 0; i < 10000; i++)
		CHECK(a[i] == 0);
	strcpy(a, "parent");
	pid_t child = fork();
	if (child == 0) {
		char *b = shmat(id, NULL, SHM_RDONLY);
		int ok = attached(id) == 3 && !strcmp(b, "parent");
		strcpy(a, "child");
		_exit(ok && !strcmp(b, "child") && !shmdt(b) ? 0 : 1);
	}
	CHECK_EQ(check_wait(child), 0);
	CHECK(!strcmp(a, "child"));
	CHECK_EQ(attached(id), 1);

	// Removed, it lives on until the last detach.
	CHECK_EQ(shmctl(id, IPC_RMID, NULL), 0);
	CHECK(!strcmp(a, "child"));
	CHECK_EQ(attached(id), 1);
	CHECK_EQ(shmdt(a), 0);
	CHECK_ERR(shmctl(id, IPC_STAT, &(struct shmid_ds){ 0 }), EINVAL);
	CHECK_ERR(shmdt(a), EINVAL);

	int key = 0x43000000 | (getpid() & 0xffff);
	CHECK_ERR(shmget(key, 100, 0), ENOENT);
	CHECK_ERR(shmget(key, 0, IPC_CREAT | 0600), EINVAL);
	id = shmget(key, 100, IPC_CREAT | 0600);
	CHECK(id >= 0);
	CHECK_EQ(shmget(key, 50, 0), id);
	CHECK_ERR(shmget(key, 100, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	CHECK_ERR(shmget(key, 10000, 0), EINVAL);
	a = shmat(id, NULL, 0);
	CHECK(a != (char *)-1);
	CHECK((long)shmat(id, a, 0) == -1 && errno == EINVAL); // taken, and no SHM_REMAP
	CHECK((long)shmat(id, a + 1, 0) == -1 && errno == EINVAL);
	CHECK(shmat(id, a + 1, SHM_RND | SHM_REMAP) == a);
	CHECK((long)shmat(-1, NULL, 0) == -1 && errno == EINVAL);
	struct shmid_ds d;
	CHECK_EQ(shmctl(id, IPC_STAT, &d), 0);
	CHECK_EQ(d.shm_segsz, 100);
	CHECK_EQ(d.shm_perm.__key, key);
	CHECK_EQ(d.shm_perm.mode & 0777, 0600);
	CHECK_EQ(d.shm_cpid, getpid());
	d.shm_perm.mode = 0640;
	CHECK_EQ(shmctl(id, IPC_SET, &d), 0);
	CHECK_EQ(shmctl(id, IPC_STAT, &d), 0);
	CHECK_EQ(d.shm_perm.mode & 0777, 0640);
	CHECK_EQ(shmctl(id, IPC_RMID, NULL), 0);
	CHECK_ERR(shmget(key, 100, 0), ENOENT);
	CHECK_EQ(shmdt(a), 0);
	return check_done();
}
