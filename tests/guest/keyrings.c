// SPDX-License-Identifier: Apache-2.0
// Are keys kept, found, linked, protected and let go of as keyrings(7) says?
#include "check.h"

#include <linux/keyctl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>

#define VIEW_ONLY 0x01010000

static long add(const char *type, const char *name, const char *payload, int ring)
{
	return syscall(SYS_add_key, type, name, payload, payload ? strlen(payload) : 0, ring);
}

static long keyctl(int operation, ...)
{
	va_list v;

	va_start(v, operation);
	long a = va_arg(v, long), b = va_arg(v, long), c = va_arg(v, long), d = va_arg(v, long);
	va_end(v);
	return syscall(SYS_keyctl, operation, a, b, c, d);
}
#define KEYCTL(operation, ...) keyctl(KEYCTL_##operation, __VA_ARGS__, 0L, 0L, 0L, 0L)

static long read_key(long key, char *out, size_t room)
{
	memset(out, 0, room);
	return KEYCTL(READ, key, (long)out, (long)room);
}

static void described(long key, const char *expected)
{
	char text[200] = "";

	CHECK_EQ(KEYCTL(DESCRIBE, key, (long)text, (long)sizeof(text)), (long)strlen(expected) + 1);
	CHECK_STR(text, expected);
}

static void keys(void)
{
	char text[16];
	long ring = CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	CHECK_EQ(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_SESSION_KEYRING, 0L), ring);
	long k = CHECK_OK(add("user", "cloister:a", "secret", KEY_SPEC_SESSION_KEYRING));

	CHECK_EQ(read_key(k, text, sizeof(text)), 6);
	CHECK_STR(text, "secret");
	CHECK_EQ(read_key(k, text, 3), 6); // does not fit
	CHECK_STR(text, "");
	CHECK_EQ(add("user", "cloister:a", "other", KEY_SPEC_SESSION_KEYRING), k);
	CHECK_EQ(read_key(k, text, sizeof(text)), 5);
	CHECK_OK(KEYCTL(UPDATE, k, (long)"third one", 9L));
	CHECK_EQ(read_key(k, text, sizeof(text)), 9);
	CHECK_EQ(syscall(SYS_request_key, "user", "cloister:a", NULL, 0), k);
	CHECK_ERR(syscall(SYS_request_key, "user", "cloister:b", NULL, 0), ENOKEY);
	CHECK_EQ(KEYCTL(SEARCH, ring, (long)"user", (long)"cloister:a", 0L), k);
	CHECK_ERR(KEYCTL(SEARCH, ring, (long)"logon", (long)"cloister:a", 0L), ENOKEY);
	int32_t serial;
	CHECK_EQ(KEYCTL(READ, ring, (long)&serial, (long)sizeof(serial)), 4);
	CHECK_EQ(serial, k);
	long logon = CHECK_OK(add("logon", "cloister:a", "hidden", ring));
	CHECK_ERR(read_key(logon, text, sizeof(text)), EOPNOTSUPP);
	CHECK_ERR(add("logon", "nameless", "x", ring), EINVAL);

	CHECK_OK(KEYCTL(UNLINK, k, ring));
	WAIT_UNTIL(KEYCTL(DESCRIBE, k, 0L, 0L) == -1 && errno == ENOKEY); // Linux collects it a little later
	CHECK_ERR(KEYCTL(UNLINK, logon, (long)KEY_SPEC_PROCESS_KEYRING), ENOKEY);
	CHECK_OK(KEYCTL(REVOKE, logon));
	CHECK_ERR(KEYCTL(UPDATE, logon, (long)"x", 1L), EKEYREVOKED);
	CHECK_OK(KEYCTL(CLEAR, ring));
}

static void bad_arguments(void)
{
	char long_type[64];

	memset(long_type, 'x', sizeof(long_type) - 1);
	long_type[63] = '\0';
	CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	CHECK_ERR(add("nosuch", "a", "x", KEY_SPEC_SESSION_KEYRING), ENODEV);
	CHECK_ERR(add(long_type, "a", "x", KEY_SPEC_SESSION_KEYRING), EINVAL);
	CHECK_ERR(add("", "a", "x", KEY_SPEC_SESSION_KEYRING), EINVAL);
	CHECK_ERR(add(".hidden", "a", "x", KEY_SPEC_SESSION_KEYRING), EPERM);
	CHECK_ERR(add("keyring", ".hidden", NULL, KEY_SPEC_SESSION_KEYRING), EPERM);
	CHECK_ERR(add("user", "", "x", KEY_SPEC_SESSION_KEYRING), EINVAL);
	CHECK_ERR(add("user", "a", NULL, KEY_SPEC_SESSION_KEYRING), EINVAL);
	CHECK_ERR(add("keyring", "a", "x", KEY_SPEC_SESSION_KEYRING), EINVAL);
	CHECK_ERR(add((char *)8, "a", "x", KEY_SPEC_SESSION_KEYRING), EFAULT);
	CHECK_ERR(add("user", (char *)8, "x", KEY_SPEC_SESSION_KEYRING), EFAULT);
	CHECK_ERR(syscall(SYS_add_key, "user", "a", (char *)8, 1, KEY_SPEC_SESSION_KEYRING), EFAULT);
	CHECK_ERR(syscall(SYS_add_key, "user", "a", "x", 1 << 20, KEY_SPEC_SESSION_KEYRING), EINVAL);
	CHECK_ERR(add("user", "a", "x", KEY_SPEC_GROUP_KEYRING), EINVAL);
	CHECK_ERR(add("user", "a", "x", 0), EINVAL);
	CHECK_ERR(add("user", "a", "x", -99), EINVAL);
	CHECK_ERR(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_THREAD_KEYRING, 0L), ENOKEY);
	CHECK_ERR(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_REQKEY_AUTH_KEY, 0L), ENOKEY);
	CHECK_ERR(keyctl(999, 0L, 0L, 0L, 0L), EOPNOTSUPP);
	CHECK_ERR(KEYCTL(ASSUME_AUTHORITY, 12345L), ENOKEY);
	CHECK_EQ(KEYCTL(ASSUME_AUTHORITY, 0L), 0);
	long k = CHECK_OK(add("user", "a", "x", KEY_SPEC_SESSION_KEYRING));
	CHECK_ERR(add("user", "b", "x", (int)k), ENOTDIR);
	CHECK_ERR(KEYCTL(CLEAR, k), ENOTDIR);
	CHECK_ERR(KEYCTL(SETPERM, k, 0xffffffffL), EINVAL);
	CHECK_ERR(KEYCTL(LINK, k, k), ENOTDIR);
}

static void rings(void)
{
	long session = CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	long a = CHECK_OK(add("keyring", "a", NULL, KEY_SPEC_SESSION_KEYRING));
	long b = CHECK_OK(add("keyring", "b", NULL, (int)a));
	long k = CHECK_OK(add("user", "deep", "x", (int)b));

	CHECK_EQ(KEYCTL(SEARCH, session, (long)"user", (long)"deep", 0L), k);
	CHECK_ERR(KEYCTL(LINK, a, b), EDEADLK);
	CHECK_ERR(KEYCTL(LINK, a, a), EDEADLK);
	CHECK_OK(KEYCTL(LINK, k, a));
	long displaced = CHECK_OK(add("keyring", "b", NULL, (int)a));
	CHECK(displaced != b);
	CHECK_EQ(KEYCTL(SEARCH, session, (long)"user", (long)"deep", 0L), k);
	CHECK_OK(KEYCTL(MOVE, k, a, session, 0L));
	CHECK_ERR(KEYCTL(UNLINK, k, a), ENOENT);
	CHECK_OK(add("user", "deep", "y", (int)a));
	CHECK_ERR(KEYCTL(MOVE, k, session, a, (long)KEYCTL_MOVE_EXCL), EEXIST);
	CHECK_ERR(KEYCTL(MOVE, k, session, a, 8L), EINVAL);
	CHECK_OK(KEYCTL(MOVE, k, session, a, 0L));
	CHECK_EQ(KEYCTL(SEARCH, session, (long)"user", (long)"deep", 0L), k);
	CHECK_OK(KEYCTL(RESTRICT_KEYRING, a, 0L, 0L));
	CHECK_ERR(KEYCTL(RESTRICT_KEYRING, a, 0L, 0L), EEXIST);
	CHECK_ERR(add("user", "more", "y", (int)a), EPERM);
}

static void too_deep(void)
{
	CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	long ring = KEY_SPEC_SESSION_KEYRING, outer = CHECK_OK(add("keyring", "outer", NULL, KEY_SPEC_PROCESS_KEYRING));
	long rings[9];

	// Each into the next that was made before it.
	for (int i = 0; i < 9; i++)
		rings[i] = CHECK_OK(add("keyring", (char[]){ (char)('a' + i), '\0' }, NULL, (int)ring));
	for (int i = 7; i >= 2; i--)
		CHECK_OK(KEYCTL(LINK, rings[i + 1], rings[i]));
	CHECK_OK(KEYCTL(LINK, rings[2], rings[1]));
	CHECK_ERR(KEYCTL(LINK, rings[1], outer), ELOOP);
}

static void states(void)
{
	char text[8];
	long session = CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	long k = CHECK_OK(add("user", "a", "x", KEY_SPEC_SESSION_KEYRING));

	CHECK_OK(KEYCTL(SET_TIMEOUT, k, 1L));
	WAIT_UNTIL(read_key(k, text, sizeof(text)) == -1);
	CHECK_ERR(read_key(k, text, sizeof(text)), EKEYEXPIRED);
	CHECK_ERR(syscall(SYS_request_key, "user", "a", NULL, 0), ENOKEY);
	CHECK_ERR(KEYCTL(SEARCH, session, (long)"user", (long)"a", 0L), EKEYEXPIRED);
	CHECK_OK(KEYCTL(UNLINK, k, session));
	k = CHECK_OK(add("user", "a", "x", KEY_SPEC_SESSION_KEYRING));
	CHECK_OK(KEYCTL(SET_TIMEOUT, k, 1000L));
	CHECK_OK(KEYCTL(SET_TIMEOUT, k, 0L));
	CHECK_EQ(read_key(k, text, sizeof(text)), 1);
	CHECK_OK(KEYCTL(REVOKE, k));
	CHECK_ERR(read_key(k, text, sizeof(text)), EKEYREVOKED);
	CHECK_ERR(syscall(SYS_request_key, "user", "a", NULL, 0), EKEYREVOKED);
	k = CHECK_OK(add("user", "a", "again", KEY_SPEC_SESSION_KEYRING));
	CHECK_EQ(read_key(k, text, sizeof(text)), 5);
	CHECK_OK(KEYCTL(INVALIDATE, k));
	WAIT_UNTIL(syscall(SYS_request_key, "user", "a", NULL, 0) == -1 && errno == ENOKEY);
}

static void permissions(void)
{
	char text[8];
	CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	long k = CHECK_OK(add("user", "a", "x", KEY_SPEC_SESSION_KEYRING));

	described(k, "user;0;0;3f010000;a");
	CHECK_OK(KEYCTL(SETPERM, k, (long)VIEW_ONLY));
	CHECK_ERR(KEYCTL(UPDATE, k, (long)"x", 1L), EACCES);
	CHECK_ERR(KEYCTL(SETPERM, k, 0x3f3f0000L), EACCES);
	CHECK_ERR(read_key(k, text, sizeof(text)), EACCES);
	CHECK_ERR(KEYCTL(LINK, k, (long)KEY_SPEC_PROCESS_KEYRING), EACCES);

	k = CHECK_OK(add("user", "b", "x", KEY_SPEC_SESSION_KEYRING));
	CHECK_OK(KEYCTL(CHOWN, k, 1234L, 1234L));
	described(k, "user;1234;1234;3f010000;b");
	CHECK_EQ(read_key(k, text, sizeof(text)), 1); // who has it in his session
	CHECK_OK(KEYCTL(LINK, k, (long)KEY_SPEC_PROCESS_KEYRING));
	CHECK_OK(KEYCTL(SETPERM, k, 0x3f030000L));
	CHECK_OK(setgid(1234));
	CHECK_OK(setuid(1234));
	CHECK_ERR(KEYCTL(CHOWN, k, 0L, -1L), EACCES);
	CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	CHECK_OK(KEYCTL(CLEAR, (long)KEY_SPEC_PROCESS_KEYRING));
}

static long ring_of_root, key_of_root;

static void as_another_user(void)
{
	char text[8];

	CHECK_OK(setuid(1234));
	CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	CHECK_ERR(read_key(key_of_root, text, sizeof(text)), EACCES);
	CHECK_ERR(KEYCTL(DESCRIBE, key_of_root, 0L, 0L), EACCES);
	CHECK_ERR(KEYCTL(CLEAR, ring_of_root), EACCES);
}

static void quota(void)
{
	int i;

	CHECK_OK(setuid(4321));
	CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	for (i = 0; i < 1000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "k%d", i);
		if (add("user", name, "x", KEY_SPEC_SESSION_KEYRING) < 0)
			break;
	}
	CHECK_EQ(errno, EDQUOT);
	CHECK(i > 100 && i < 200);
	char *big = calloc(1, 30000);
	memset(big, 'x', 29999);
	CHECK_OK(KEYCTL(CLEAR, (long)KEY_SPEC_SESSION_KEYRING));
	WAIT_UNTIL(add("user", "small", "x", KEY_SPEC_SESSION_KEYRING) != -1);
	CHECK_ERR(add("user", "big", big, KEY_SPEC_SESSION_KEYRING), EDQUOT);
	free(big);
}

static long session_of_parent, process_of_parent;

static void be_child(void)
{
	CHECK_EQ(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_SESSION_KEYRING, 0L), session_of_parent);
	CHECK_ERR(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_PROCESS_KEYRING, 0L), ENOKEY);
	CHECK(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_PROCESS_KEYRING, 1L) != process_of_parent);
	CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, (long)"cloister-test-session"));
	session_of_parent = CHECK_OK(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_SESSION_KEYRING, 0L));
	CHECK_OK(KEYCTL(SETPERM, session_of_parent, 0x3f1b0000L));                // searched for by the user's others
	CHECK_EQ(KEYCTL(JOIN_SESSION_KEYRING, (long)"cloister-test-session"), 0); // already there
	CHECK_OK(KEYCTL(SESSION_TO_PARENT, 0L));
}

static void sessions(void)
{
	long old = session_of_parent = CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));

	process_of_parent = CHECK_OK(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_PROCESS_KEYRING, 1L));
	CHECK_CHILD(be_child);
	long now = CHECK_OK(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_SESSION_KEYRING, 0L));
	CHECK(now != old);
	described(now, "keyring;0;0;3f1b0000;cloister-test-session");
	CHECK_EQ(KEYCTL(SET_REQKEY_KEYRING, (long)KEY_REQKEY_DEFL_NO_CHANGE), KEY_REQKEY_DEFL_DEFAULT);
	CHECK_EQ(KEYCTL(SET_REQKEY_KEYRING, (long)KEY_REQKEY_DEFL_THREAD_KEYRING), KEY_REQKEY_DEFL_DEFAULT);
	CHECK_EQ(KEYCTL(SET_REQKEY_KEYRING, (long)KEY_REQKEY_DEFL_NO_CHANGE), KEY_REQKEY_DEFL_THREAD_KEYRING);
	CHECK_OK(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_THREAD_KEYRING, 0L));
	CHECK_ERR(KEYCTL(SET_REQKEY_KEYRING, (long)KEY_REQKEY_DEFL_GROUP_KEYRING), EINVAL);
}

static void user_rings(void)
{
	CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	long of_user = CHECK_OK(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_USER_KEYRING, 0L));
	long of_session = CHECK_OK(KEYCTL(GET_KEYRING_ID, (long)KEY_SPEC_USER_SESSION_KEYRING, 0L));
	char name[64], line[32];

	snprintf(name, sizeof(name), "keyring;%d;65534;1f3f0000;_uid.%d", getuid(), getuid());
	described(of_user, name);
	snprintf(name, sizeof(name), "keyring;%d;65534;1f3f0000;_uid_ses.%d", getuid(), getuid());
	described(of_session, name);
	snprintf(line, sizeof(line), "%08lx I--Q---", of_user);
	CHECK(strstr(check_read_file("/proc/keys"), line) != NULL);
	snprintf(line, sizeof(line), "%5d: ", getuid());
	CHECK(strstr(check_read_file("/proc/key-users"), line) != NULL);
}

int main(void)
{
	if (syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1) == -1 &&
	    (errno == ENOSYS || errno == EPERM))
		CHECK_SKIP("this kernel has no keys for us");
	if (geteuid() != 0)
		CHECK_SKIP("needs root");
	CHECK_CHILD(keys);
	CHECK_CHILD(bad_arguments);
	CHECK_CHILD(rings);
	CHECK_CHILD(too_deep);
	CHECK_CHILD(states);
	CHECK_CHILD(permissions);
	ring_of_root = CHECK_OK(KEYCTL(JOIN_SESSION_KEYRING, 0L));
	key_of_root = CHECK_OK(add("user", "of-root", "x", KEY_SPEC_SESSION_KEYRING));
	CHECK_CHILD(as_another_user);
	CHECK_CHILD(quota);
	CHECK_CHILD(sessions);
	CHECK_CHILD(user_rings);
	return check_done();
}
