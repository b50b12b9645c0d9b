// SPDX-License-Identifier: Apache-2.0
// Do the tables of /proc/net list the sockets there are, with their addresses, states, owners and inodes?
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

static unsigned long inode_of(int fd)
{
	struct stat st;
	char path[64], link[64] = "", expected[64];

	CHECK_OK(fstat(fd, &st));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK_OK(readlink(path, link, sizeof(link) - 1));
	snprintf(expected, sizeof(expected), "socket:[%lu]", (unsigned long)st.st_ino);
	CHECK_STR(link, expected);
	return st.st_ino;
}

struct line {
	bool found;
	char local[64], remote[64];
	unsigned state, receive, uid, fields;
};

// The line of a socket in an internet table.
static struct line internet_line(const char *table, unsigned long inode)
{
	char *text = check_read_file(table), *at;
	struct line l = { 0 };

	for (at = strchr(text, '\n'); at && at[1]; at = strchr(at + 1, '\n')) {
		unsigned long number;
		unsigned send, when;
		int used = 0;

		if (sscanf(at, " %*d: %63s %63s %x %x:%x %*x:%x %*x %u %*u %lu%n", l.local, l.remote, &l.state, &send,
			   &l.receive, &when, &l.uid, &number, &used) != 8) {
			CHECK(!"a line is not as Linux has it");
			break;
		}
		if (number != inode)
			continue;
		l.found = true;
		char *end = strchr(at + 1, '\n');
		for (char *p = at + used; p < end; p++) // those behind the inode
			l.fields += *p != ' ' && p[-1] == ' ';
		return l;
	}
	return (struct line){ 0 };
}

static void fill(int domain, unsigned port, struct sockaddr_storage *a, socklen_t *size)
{
	memset(a, 0, sizeof(*a));
	a->ss_family = (sa_family_t)domain;
	if (domain == AF_INET) {
		((struct sockaddr_in *)a)->sin_port = htons((uint16_t)port);
		((struct sockaddr_in *)a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		*size = sizeof(struct sockaddr_in);
	} else {
		((struct sockaddr_in6 *)a)->sin6_port = htons((uint16_t)port);
		((struct sockaddr_in6 *)a)->sin6_addr = in6addr_loopback;
		*size = sizeof(struct sockaddr_in6);
	}
}

static int bound(int domain, int type, char text[64])
{
	struct sockaddr_storage a;
	socklen_t size;
	int fd = CHECK_OK(socket(domain, type, 0));

	fill(domain, 0, &a, &size);
	CHECK_OK(bind(fd, (struct sockaddr *)&a, size));
	CHECK_OK(getsockname(fd, (struct sockaddr *)&a, &size));
	snprintf(text, 64, "%s:%04X", domain == AF_INET ? "0100007F" : "00000000000000000000000001000000",
		 ntohs(domain == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
					 : ((struct sockaddr_in6 *)&a)->sin6_port));
	return fd;
}

static void connect_to(int fd, int domain, const char *text)
{
	struct sockaddr_storage a;
	socklen_t size;

	fill(domain, (unsigned)strtoul(strrchr(text, ':') + 1, NULL, 16), &a, &size);
	CHECK_OK(connect(fd, (struct sockaddr *)&a, size));
}

static void streams(int domain, const char *table)
{
	char name[64];
	int server = bound(domain, SOCK_STREAM, name);
	struct line l = internet_line(table, inode_of(server)), other;

	CHECK(!l.found); // bound, no more
	CHECK_OK(listen(server, 7));
	l = internet_line(table, inode_of(server));
	CHECK(l.found && l.state == 10);
	CHECK_STR(l.local, name);
	CHECK(strchr(l.remote, ':') && strcmp(strrchr(l.remote, ':'), ":0000") == 0);
	CHECK_EQ(l.uid, getuid());
	CHECK_EQ(l.receive, 0);
	CHECK_EQ(l.fields, 7);

	int client = CHECK_OK(socket(domain, SOCK_STREAM, 0));
	connect_to(client, domain, name);
	CHECK_EQ(internet_line(table, inode_of(server)).receive, 1); // waits to be accepted
	int child = CHECK_OK(accept(server, NULL, NULL));
	CHECK_EQ(internet_line(table, inode_of(server)).receive, 0);
	l = internet_line(table, inode_of(client));
	other = internet_line(table, inode_of(child));
	CHECK(l.found && other.found && l.state == 1 && other.state == 1);
	CHECK_STR(l.remote, name);
	CHECK_STR(other.local, name);
	CHECK_STR(other.remote, l.local);
	CHECK_EQ(l.fields, 7);

	CHECK_EQ(write(client, "hello", 5), 5);
	WAIT_UNTIL(internet_line(table, inode_of(child)).receive == 5);
	CHECK_OK(shutdown(client, SHUT_WR));
	WAIT_UNTIL(internet_line(table, inode_of(child)).state == 8);  // CLOSE_WAIT
	WAIT_UNTIL(internet_line(table, inode_of(client)).state == 5); // FIN_WAIT2
	unsigned long inode = inode_of(client);
	close(client), close(child), close(server);
	CHECK(!internet_line(table, inode).found);
}

static void datagrams(int domain, const char *table)
{
	char name[64], other[64];
	int a = bound(domain, SOCK_DGRAM, name), b = bound(domain, SOCK_DGRAM, other);
	struct line l = internet_line(table, inode_of(a));

	CHECK(l.found && l.state == 7);
	CHECK_STR(l.local, name);
	CHECK_EQ(l.uid, getuid());
	CHECK_EQ(l.fields, 3);
	connect_to(b, domain, name);
	l = internet_line(table, inode_of(b));
	CHECK(l.found && l.state == 1);
	CHECK_STR(l.remote, name);
	CHECK_EQ(write(b, "hello", 5), 5);
	WAIT_UNTIL(internet_line(table, inode_of(a)).receive > 0);
	close(a), close(b);
	int unbound = CHECK_OK(socket(domain, SOCK_DGRAM, 0));
	CHECK(!internet_line(table, inode_of(unbound)).found);
	close(unbound);
}

// Fields of a unix socket's line, and its name. False: there is none.
static bool unix_line(unsigned long inode, unsigned *flags, unsigned *type, unsigned *state, char name[128])
{
	char *text = check_read_file("/proc/net/unix"), *at;

	for (at = strchr(text, '\n'); at && at[1]; at = strchr(at + 1, '\n')) {
		unsigned long number = 0;
		unsigned references;
		int used = 0;

		if (sscanf(at, " %*x: %x %*x %x %x %x %lu%n", &references, flags, type, state, &number, &used) != 5) {
			CHECK(!"a line is not as Linux has it");
			return false;
		}
		if (number != inode)
			continue;
		CHECK(references > 0);
		size_t length = strcspn(at + used, "\n");
		snprintf(name, 128, "%.*s", (int)length, at + used);
		return true;
	}
	return false;
}

static void unix_sockets(void)
{
	struct sockaddr_un a = { AF_UNIX, "unix-socket" };
	unsigned flags, type, state;
	char name[128], expected[128];
	int pair[2], server = CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0)), datagram;

	CHECK(unix_line(inode_of(server), &flags, &type, &state, name));
	CHECK(flags == 0 && type == SOCK_STREAM && state == 1);
	CHECK_STR(name, "");
	CHECK_OK(bind(server, (struct sockaddr *)&a, sizeof(a)));
	CHECK_OK(listen(server, 3));
	CHECK(unix_line(inode_of(server), &flags, &type, &state, name));
	CHECK(flags == 0x10000 && type == SOCK_STREAM && state == 1);
	CHECK_STR(name, " unix-socket");

	CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	CHECK(unix_line(inode_of(pair[1]), &flags, &type, &state, name));
	CHECK(flags == 0 && type == SOCK_SEQPACKET && state == 3);
	CHECK_STR(name, "");

	datagram = CHECK_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	memset(a.sun_path, 0, sizeof(a.sun_path));
	int size = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "abstract-%d", (int)getpid());
	CHECK_OK(bind(datagram, (struct sockaddr *)&a, (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 + size));
	snprintf(expected, sizeof(expected), " @%s", a.sun_path + 1);
	CHECK(unix_line(inode_of(datagram), &flags, &type, &state, name));
	CHECK(flags == 0 && type == SOCK_DGRAM && state == 1);
	CHECK_STR(name, expected);

	unsigned long inode = inode_of(pair[0]);
	close(pair[0]), close(pair[1]), close(datagram), close(server);
	CHECK(!unix_line(inode, &flags, &type, &state, name));
}

static void loopback(unsigned long long numbers[16])
{
	char *line = strstr(check_read_file("/proc/net/dev"), "lo:");

	memset(numbers, 0, 16 * sizeof(*numbers));
	if (!CHECK(line != NULL))
		return;
	line += 3;
	for (int i = 0; i < 16; i++)
		numbers[i] = strtoull(line, &line, 10);
	CHECK(*line == '\n');
}

static void interface(void)
{
	unsigned long long before[16], after[16];
	char name[64], data[1000] = "";
	int a = bound(AF_INET, SOCK_DGRAM, name), b = CHECK_OK(socket(AF_INET, SOCK_DGRAM, 0));

	connect_to(b, AF_INET, name);
	loopback(before);
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(write(b, data, sizeof(data)), (ssize_t)sizeof(data));
		CHECK_EQ(read(a, data, sizeof(data)), (ssize_t)sizeof(data));
	}
	close(a), close(b);
	loopback(after);
	CHECK(after[0] - before[0] >= 10 * (sizeof(data) + 28) && after[8] - before[8] >= 10 * (sizeof(data) + 28));
	CHECK(after[1] - before[1] >= 10 && after[9] - before[9] >= 10);
	CHECK_EQ(after[2], before[2]);
}

static unsigned sockstat(const char *file, const char *format)
{
	unsigned value = UINT_MAX;
	char key[32], *line;

	snprintf(key, sizeof(key), "%.*s", (int)strcspn(format, "%"), format);
	line = strstr(check_read_file(file), key);
	if (CHECK(line != NULL))
		CHECK_EQ(sscanf(line, format, &value), 1);
	return value;
}

static void sums(void)
{
	char name[64];
	int fd[3] = { bound(AF_INET, SOCK_STREAM, name), bound(AF_INET, SOCK_DGRAM, name),
		      bound(AF_INET6, SOCK_DGRAM, name) };

	CHECK_OK(listen(fd[0], 1));
	CHECK(sockstat("/proc/net/sockstat", "sockets: used %u") >= 3);
	CHECK(sockstat("/proc/net/sockstat", "TCP: inuse %u") >= 1);
	CHECK(sockstat("/proc/net/sockstat", "UDP: inuse %u") >= 1);
	CHECK(sockstat("/proc/net/sockstat6", "UDP6: inuse %u") >= 1);
	CHECK(strstr(check_read_file("/proc/net/protocols"), "\nTCP ") != NULL);
	CHECK(strstr(check_read_file("/proc/net/snmp"), "\nTcp: 1 ") != NULL);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
}

int main(void)
{
	check_tmpdir();
	streams(AF_INET, "/proc/net/tcp");
	streams(AF_INET6, "/proc/net/tcp6");
	datagrams(AF_INET, "/proc/net/udp");
	datagrams(AF_INET6, "/proc/net/udp6");
	unix_sockets();
	interface();
	sums();
	return check_done();
}
