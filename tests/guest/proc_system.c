// SPDX-License-Identifier: Apache-2.0
// Are the system-wide files of /proc and /sys there, well formed, and in agreement with each other?
#include "check.h"
#include <dirent.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static long number_after(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line ? strtol(line + strlen(key), NULL, 10) : -1;
}

static int count_lines(const char *text, const char *prefix)
{
	int count = 0;

	for (const char *at = text; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (!*at)
			break;
		count += strncmp(at, prefix, strlen(prefix)) == 0;
	}
	return count;
}

static void memory(void)
{
	char *text = check_read_file("/proc/meminfo");
	long total = number_after(text, "MemTotal:"), available = number_after(text, "MemAvailable:");
	struct sysinfo info;

	CHECK(total > 0);
	CHECK(available > 0 && available <= total);
	CHECK(number_after(text, "MemFree:") > 0);
	CHECK(number_after(text, "Cached:") >= 0);
	CHECK(number_after(text, "SwapTotal:") >= 0);
	CHECK_OK(sysinfo(&info));
	CHECK(llabs((long long)(info.totalram * info.mem_unit / 1024) - total) < total / 20);
	CHECK(info.uptime > 0);
	CHECK(info.procs >= 1);
	CHECK(sysconf(_SC_PHYS_PAGES) > 0);
}

static void processors(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	char *text = check_read_file("/proc/cpuinfo"), path[128];

	CHECK_EQ(count_lines(text, "processor\t:"), online);
	CHECK(strstr(text, "flags\t\t:") != NULL && strstr(text, "sse2") != NULL);
	CHECK(strstr(text, "model name\t:") != NULL && strstr(text, "cpu MHz") != NULL);
	text = check_read_file("/proc/stat");
	CHECK(strncmp(text, "cpu  ", 5) == 0);
	CHECK_EQ(count_lines(text, "cpu") - 1, online);
	CHECK(number_after(text, "btime ") > 1600000000);
	CHECK(number_after(text, "ctxt ") > 0);
	CHECK(number_after(text, "processes ") > 0);
	CHECK(strchr("0123456789", check_read_file("/sys/devices/system/cpu/online")[0]) != NULL);
	CHECK(strlen(check_read_file("/sys/devices/system/cpu/possible")) > 1);
	for (int i = 0; i < online && i < 4; i++) {
		static const char *const topology[] = { "core_id", "physical_package_id", "core_siblings",
							"thread_siblings" };
		for (size_t n = 0; n < ARRAY_SIZE(topology); n++) {
			snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/%s", i, topology[n]);
			CHECK(strlen(check_read_file(path)) >= 2);
		}
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", i);
		if (access(path, F_OK) == 0) // Linux leaves it out where a processor cannot go offline
			CHECK_STR(check_read_file(path), "1\n");
	}
}

static void caches_and_nodes(void)
{
	static const char *const cache[] = { "coherency_line_size", "level", "number_of_sets",
					     "shared_cpu_map",      "size",  "type" };
	char path[128];

	// Not every virtual machine shows caches or nodes; what is shown must be whole.
	if (access("/sys/devices/system/cpu/cpu0/cache/index0", F_OK) == 0)
		for (size_t n = 0; n < ARRAY_SIZE(cache); n++) {
			snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index0/%s", cache[n]);
			CHECK(strlen(check_read_file(path)) >= 2);
		}
	else if (getenv("CLOISTER_CELL"))
		CHECK(!"no cache directory");
	if (access("/sys/devices/system/node/node0", F_OK) == 0) {
		CHECK(strlen(check_read_file("/sys/devices/system/node/node0/cpumap")) >= 2);
		CHECK(strncmp(check_read_file("/sys/devices/system/node/node0/distance"), "10", 2) == 0);
		CHECK(strstr(check_read_file("/sys/devices/system/node/node0/meminfo"), "Node 0 MemTotal:") != NULL);
	} else if (getenv("CLOISTER_CELL")) {
		CHECK(!"no node directory");
	}
}

static void kernel(void)
{
	struct utsname u;
	char text[256];

	CHECK_OK(uname(&u));
	CHECK_STR(u.sysname, "Linux");
	CHECK_STR(u.machine, "x86_64");
	CHECK(atoi(u.release) >= 5);
	CHECK(strlen(u.nodename) > 0);
	snprintf(text, sizeof(text), "%s\n", u.release);
	CHECK_STR(check_read_file("/proc/sys/kernel/osrelease"), text);
	snprintf(text, sizeof(text), "%s\n", u.nodename);
	CHECK_STR(check_read_file("/proc/sys/kernel/hostname"), text);
	CHECK_STR(check_read_file("/proc/sys/kernel/ostype"), "Linux\n");
	CHECK(strncmp(check_read_file("/proc/version"), "Linux version ", 14) == 0);
	CHECK(atoi(check_read_file("/proc/sys/kernel/pid_max")) >= 32768);
	CHECK(atoi(check_read_file("/proc/sys/vm/overcommit_memory")) >= 0);
	CHECK(atol(check_read_file("/proc/sys/fs/file-max")) > 0);
	CHECK_EQ(atol(check_read_file("/proc/sys/fs/pipe-max-size")), 1048576);
	double load[3];
	int running, total;
	CHECK_EQ(sscanf(check_read_file("/proc/loadavg"), "%lf %lf %lf %d/%d", &load[0], &load[1], &load[2], &running,
			&total),
		 5);
	CHECK(running >= 1 && total >= running);
	char first[40];
	snprintf(first, sizeof(first), "%s", check_read_file("/proc/sys/kernel/random/uuid"));
	CHECK_EQ(strlen(first), 37);
	CHECK(strcmp(first, check_read_file("/proc/sys/kernel/random/uuid")) != 0);
}

static void mounts(void)
{
	char *text = check_read_file("/proc/mounts");

	CHECK(strstr(text, " / ") != NULL);
	CHECK(strstr(text, " /proc proc ") != NULL);
	CHECK(strstr(text, " /dev ") != NULL);
	text = check_read_file("/proc/self/mountinfo");
	CHECK(strstr(text, " / / ") != NULL || strstr(text, " / ") != NULL);
	CHECK(strstr(text, " - proc ") != NULL);
	text = check_read_file("/proc/filesystems");
	CHECK(strstr(text, "\tproc\n") != NULL && strstr(text, "\ttmpfs\n") != NULL);
	struct statfs fs;
	CHECK_OK(statfs("/sys", &fs));
	CHECK_EQ(fs.f_type, 0x62656572);
	CHECK_OK(access("/proc/sys", F_OK));
	CHECK_OK(access("/proc/sys/kernel", F_OK));
	CHECK_OK(access("/sys/devices/system", F_OK));
}

static void network_names(void)
{
	// The directories that programs look into, present even where nothing is connected.
	static const char *const names[] = { "/proc/sys/net", "/proc/sys/net/core", "/proc/sys/net/ipv4",
					     "/proc/sys/net/unix" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (access(names[i], F_OK) < 0)
			check_fail(__FILE__, __LINE__, "%s: %s", names[i], strerror(errno));
}

int main(void)
{
	memory();
	processors();
	caches_and_nodes();
	kernel();
	mounts();
	network_names();
	return check_done();
}
