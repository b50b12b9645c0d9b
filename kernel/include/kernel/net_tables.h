// SPDX-License-Identifier: Apache-2.0
// The tables of /proc/net: a network namespace's sockets and its interface, with Linux's columns (proc(5)). May sleep.
// Owner: kernel/net/tables.c.
#pragma once

struct namespace;
struct net_namespace;
struct seq;

const struct net_namespace *net_namespace_of(struct namespace *n); // n: one of the kind

int net_tcp_show(struct seq *s, const struct net_namespace *n);
int net_tcp6_show(struct seq *s, const struct net_namespace *n);
int net_udp_show(struct seq *s, const struct net_namespace *n);
int net_udp6_show(struct seq *s, const struct net_namespace *n);
int net_unix_show(struct seq *s, const struct net_namespace *n);
int net_sockstat_show(struct seq *s, const struct net_namespace *n);
int net_sockstat6_show(struct seq *s, const struct net_namespace *n);
int net_snmp_show(struct seq *s, const struct net_namespace *n);
int net_protocols_show(struct seq *s, const struct net_namespace *n);
int net_dev_show(struct seq *s, const struct net_namespace *n);
int net_if_inet6_show(struct seq *s, const struct net_namespace *n);
