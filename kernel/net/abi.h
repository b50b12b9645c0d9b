// SPDX-License-Identifier: Apache-2.0
// Numbers of the Linux socket ABI that no UAPI header has: the C library's <bits/socket.h> repeats them for programs.
// socket(2), send(2), recv(2), cmsg(3), unix(7).
#pragma once

#include <asm/socket.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/socket.h>
#include <linux/un.h>

#include "kernel/types.h"

#define AF_UNSPEC  0
#define AF_UNIX    1
#define AF_INET    2
#define AF_INET6   10
#define AF_NETLINK 16
#define AF_VSOCK   40

#define SOCK_STREAM    1
#define SOCK_DGRAM     2
#define SOCK_RAW       3
#define SOCK_SEQPACKET 5
#define SOCK_TYPE_MASK 15
#define SOCK_NONBLOCK  O_NONBLOCK
#define SOCK_CLOEXEC   O_CLOEXEC

#define SHUT_RD   0
#define SHUT_WR   1
#define SHUT_RDWR 2

#define MSG_OOB          1u
#define MSG_PEEK         2u
#define MSG_DONTROUTE    4u
#define MSG_CTRUNC       8u
#define MSG_TRUNC        0x20u
#define MSG_DONTWAIT     0x40u
#define MSG_EOR          0x80u
#define MSG_WAITALL      0x100u
#define MSG_CONFIRM      0x800u
#define MSG_ERRQUEUE     0x2000u
#define MSG_NOSIGNAL     0x4000u
#define MSG_MORE         0x8000u
#define MSG_WAITFORONE   0x10000u
#define MSG_CMSG_CLOEXEC 0x40000000u

#define SCM_RIGHTS      1
#define SCM_CREDENTIALS 2
#define SCM_MAX_FDS     253u

#define SOMAXCONN 4096

struct ucred {
	int32_t pid;
	uint32_t uid, gid;
};

struct user_msghdr {
	struct uptr name;
	int32_t name_size;
	uint32_t padding;
	struct uptr vector;
	uint64_t vector_count;
	struct uptr control;
	uint64_t control_size;
	uint32_t flags;
	uint32_t padding2;
};
static_assert(sizeof(struct user_msghdr) == 56, "struct msghdr");

struct user_mmsghdr {
	struct user_msghdr header;
	uint32_t size;
	uint32_t padding;
};
static_assert(sizeof(struct user_mmsghdr) == 64, "struct mmsghdr");

struct user_cmsghdr {
	uint64_t size;
	int32_t level, type;
};
static_assert(sizeof(struct user_cmsghdr) == 16, "struct cmsghdr");

// <linux/if.h> and <linux/if_arp.h> drag the C library in.
#define IFF_UP          1
#define IFF_LOOPBACK    8
#define IFF_RUNNING     0x40
#define IFF_LOWER_UP    0x10000
#define ARPHRD_LOOPBACK 772

struct user_ifreq {
	char name[16];
	union {
		struct sockaddr_in in;
		uint16_t family;
		int16_t flags;
		int32_t value;
		char bytes[24];
	};
};
static_assert(sizeof(struct user_ifreq) == 40, "struct ifreq");

// <linux/vm_sockets.h> drags the C library in. vsock(7).
struct user_sockaddr_vm {
	uint16_t family;
	uint16_t reserved;
	uint32_t port, cid;
	uint8_t flags;
	uint8_t zero[3];
};
static_assert(sizeof(struct user_sockaddr_vm) == 16, "struct sockaddr_vm");

#define SO_VM_SOCKETS_BUFFER_SIZE         0
#define SO_VM_SOCKETS_BUFFER_MIN_SIZE     1
#define SO_VM_SOCKETS_BUFFER_MAX_SIZE     2
#define SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD 6
#define SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW 8
#define VMADDR_CID_ANY                    UINT32_MAX
#define VMADDR_CID_LOCAL                  1u
#define VMADDR_CID_HOST                   2u
#define VMADDR_PORT_ANY                   UINT32_MAX
#define IOCTL_VM_SOCKETS_GET_LOCAL_CID    0x7b9u
