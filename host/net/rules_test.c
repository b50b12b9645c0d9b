// SPDX-License-Identifier: Apache-2.0
// Grants mean what they say: which text is one, and what each admits.
#include "net/rules.h"

#include "lib/endpoint.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct outside_endpoint at(const char *address, unsigned port)
{
	struct outside_endpoint e = { .port = (uint16_t)port };

	memcpy(e.ip, endpoint_v4_prefix, sizeof(endpoint_v4_prefix));
	if (inet_pton(AF_INET, address, e.ip + 12) != 1)
		assert_int_equal(inet_pton(AF_INET6, address, e.ip), 1);
	return e;
}

static bool admits(const char *rule, enum outside_protocol protocol, const char *address, unsigned port)
{
	struct net_rules rules = { 0 };
	struct outside_endpoint to = at(address, port);
	struct err e = { 0 };

	assert_true(net_rules_add_connect(&rules, rule, &e));
	for (unsigned i = 0; i < rules.count; i++)
		assert_true(outside_rule_is_sane(&rules.list[i]));
	return net_rules_admit(&rules, protocol, &to);
}

static void test_one_address_and_port(void **state)
{
	(void)state;
	assert_true(admits("tcp:10.1.2.3:80", OUTSIDE_TCP, "10.1.2.3", 80));
	assert_false(admits("tcp:10.1.2.3:80", OUTSIDE_UDP, "10.1.2.3", 80));
	assert_false(admits("tcp:10.1.2.3:80", OUTSIDE_TCP, "10.1.2.3", 81));
	assert_false(admits("tcp:10.1.2.3:80", OUTSIDE_TCP, "10.1.2.4", 80));
	assert_true(admits("udp:[2001:db8::1]:53", OUTSIDE_UDP, "2001:db8::1", 53));
	assert_false(admits("udp:[2001:db8::1]:53", OUTSIDE_UDP, "2001:db8::2", 53));
	assert_true(admits("tcp:10.1.2.3:80", OUTSIDE_TCP, "::ffff:10.1.2.3", 80));
	assert_true(admits("tcp:[::ffff:10.1.2.3]:80", OUTSIDE_TCP, "10.1.2.3", 80));
}

static void test_prefixes_and_port_ranges(void **state)
{
	(void)state;
	assert_true(admits("tcp:10.0.0.0/8:8000-8010", OUTSIDE_TCP, "10.255.0.1", 8010));
	assert_false(admits("tcp:10.0.0.0/8:8000-8010", OUTSIDE_TCP, "11.0.0.1", 8010));
	assert_false(admits("tcp:10.0.0.0/8:8000-8010", OUTSIDE_TCP, "10.0.0.1", 8011));
	assert_true(admits("tcp:192.168.4.0/22:*", OUTSIDE_TCP, "192.168.7.255", 65535));
	assert_false(admits("tcp:192.168.4.0/22:*", OUTSIDE_TCP, "192.168.8.0", 1));
	assert_true(admits("tcp:[2001:db8::]/32:443", OUTSIDE_TCP, "2001:db8:ffff::1", 443));
	assert_true(admits("tcp:[2001:db8::/32]:443", OUTSIDE_TCP, "2001:db8:ffff::1", 443));
	assert_false(admits("tcp:[2001:db8::]/32:443", OUTSIDE_TCP, "2001:db9::1", 443));
	assert_true(admits("tcp:*:443", OUTSIDE_TCP, "1.2.3.4", 443));
	assert_true(admits("tcp:*:443", OUTSIDE_TCP, "2001:db8::1", 443));
	assert_false(admits("tcp:0.0.0.0/0:443", OUTSIDE_TCP, "2001:db8::1", 443));
}

static void test_loopback_must_be_named(void **state)
{
	static const char *const wide[] = { "tcp:*:*", "tcp:0.0.0.0/0:*", "tcp:[::]/0:*", "tcp:[::]/127:*",
					    "tcp:126.0.0.0/7:*" };

	(void)state;
	for (size_t i = 0; i < sizeof(wide) / sizeof(*wide); i++) {
		assert_false(admits(wide[i], OUTSIDE_TCP, "127.0.0.1", 80));
		assert_false(admits(wide[i], OUTSIDE_TCP, "127.255.255.255", 80));
		assert_false(admits(wide[i], OUTSIDE_TCP, "::1", 80));
		assert_false(admits(wide[i], OUTSIDE_TCP, "0.0.0.0", 80)); // which is loopback too
		assert_false(admits(wide[i], OUTSIDE_TCP, "::", 80));
	}
	assert_true(admits("tcp:127.0.0.2:80", OUTSIDE_TCP, "127.0.0.2", 80));
	assert_true(admits("tcp:127.0.0.0/8:80", OUTSIDE_TCP, "127.1.2.3", 80));
	assert_true(admits("tcp:[::1]:80", OUTSIDE_TCP, "::1", 80));
}

static void test_bad_connect_rules(void **state)
{
	static const char *const bad[] = {
		"",
		"tcp",
		"tcp:",
		"tcp:10.0.0.1",
		"tcp:10.0.0.1:",
		"tcp:10.0.0.1:0",
		"tcp:10.0.0.1:65536",
		"tcp:10.0.0.1:5-4",
		"tcp:10.0.0.1:5x",
		"tcp::80",
		"sctp:10.0.0.1:5",
		"10.0.0.1:80",
		"tcp:10.0.0.1/33:80",
		"tcp:10.0.0.1/8:80",
		"tcp:10.0.0.0/:80",
		"tcp:2001::1:80",
		"tcp:[2001::1:80",
		"tcp:[2001::]/129:80",
		"tcp:[]:80",
		"tcp:1.2.3/8:80",
		"tcp:10.0.0.1:-5",
		"tcp:10.0.0.1:5-",
	};
	struct net_rules rules = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct err e = { 0 };

		assert_false(net_rules_add_connect(&rules, bad[i], &e));
		assert_int_equal(e.exit_status, EXIT_USAGE);
		assert_int_equal(rules.count, 0);
	}
}

static void test_publish(void **state)
{
	struct net_rules rules = { 0 };
	struct outside_endpoint any = at("0.0.0.0", 0), local = at("127.0.0.1", 0), six = at("::1", 0);
	struct err e = { 0 };

	(void)state;
	assert_true(net_rules_add_publish(&rules, "8080:80", &e));
	assert_true(net_rules_add_publish(&rules, "127.0.0.1:5353:53/udp", &e));
	assert_true(net_rules_add_publish(&rules, "[::1]:8080:80/tcp", &e));
	assert_int_equal(rules.list[0].port_first, 8080);
	assert_int_equal(rules.list[0].cell_port, 80);
	assert_int_equal(rules.list[0].protocol, OUTSIDE_TCP);
	assert_memory_equal(rules.list[0].address, any.ip, 16);
	assert_int_equal(rules.list[1].protocol, OUTSIDE_UDP);
	assert_memory_equal(rules.list[1].address, local.ip, 16);
	assert_memory_equal(rules.list[2].address, six.ip, 16);
	for (unsigned i = 0; i < rules.count; i++) {
		assert_int_equal(rules.list[i].kind, OUTSIDE_RULE_PUBLISH);
		assert_true(outside_rule_is_sane(&rules.list[i]));
	}
	assert_false(net_rules_add_publish(&rules, "8080:81", &e)); // twice
	any.port = 80;
	assert_false(net_rules_admit(&rules, OUTSIDE_TCP, &any)); // it lets nothing out
}

static void test_bad_publish_rules(void **state)
{
	static const char *const bad[] = { "",         "80",   ":80",     "80:",         "0:80",      "80:0",
					   "80:70000", "a:80", "80:80/x", "1.2.3:80:80", "[::1:80:80" };
	struct net_rules rules = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct err e = { 0 };

		assert_false(net_rules_add_publish(&rules, bad[i], &e));
		assert_int_equal(e.exit_status, EXIT_USAGE);
	}
}

static void test_rules_are_bounded(void **state)
{
	struct net_rules rules = { 0 };
	struct err e = { 0 };

	(void)state;
	for (unsigned i = 0; i < OUTSIDE_RULES_MAX; i++)
		assert_true(net_rules_add_connect(&rules, "tcp:10.0.0.1:80", &e));
	assert_false(net_rules_add_connect(&rules, "tcp:10.0.0.1:80", &e));
	assert_false(net_rules_add_publish(&rules, "80:80", &e));
	assert_int_equal(rules.count, OUTSIDE_RULES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_address_and_port),
		cmocka_unit_test(test_prefixes_and_port_ranges),
		cmocka_unit_test(test_loopback_must_be_named),
		cmocka_unit_test(test_bad_connect_rules),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_bad_publish_rules),
		cmocka_unit_test(test_rules_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
