// SPDX-License-Identifier: Apache-2.0
// The tables of /proc/net: the cell's sockets and its interface, with Linux's columns (proc(5)). May sleep. Owner: kernel/net/tables.c.
#pragma once

struct pseudo;
struct seq;

int net_tcp_show(struct seq *s, struct pseudo *n);
int net_tcp6_show(struct seq *s, struct pseudo *n);
int net_udp_show(struct seq *s, struct pseudo *n);
int net_udp6_show(struct seq *s, struct pseudo *n);
int net_unix_show(struct seq *s, struct pseudo *n);
int net_sockstat_show(struct seq *s, struct pseudo *n);
int net_sockstat6_show(struct seq *s, struct pseudo *n);
int net_snmp_show(struct seq *s, struct pseudo *n);
int net_protocols_show(struct seq *s, struct pseudo *n);
int net_dev_show(struct seq *s, struct pseudo *n);
