// SPDX-License-Identifier: Apache-2.0
// Sockets of this cell, whatever their address family. See socket.c for how they move data.
#pragma once

#include "abi.h"
#include "kernel/fs.h"
#include "kernel/net_channel.h"
#include "kernel/poll.h"
#include "kernel/refcount.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "namespace.h"

// ---- addresses ----

struct net_address {
	unsigned size; // 0: none
	union {
		uint16_t family;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		char bytes[128];
	};
};

// ---- data in flight ----

struct rights { // descriptors that travel with a packet (SCM_RIGHTS)
	unsigned count;
	struct list node; // to be dropped
	struct file *files[];
};

struct packet {
	struct list node;         // receiver's queue
	struct socket *owner;     // whose send space it uses; counted, or NULL
	struct rights *rights;    // or NULL
	struct net_address *from; // datagrams of named senders; kalloc, or NULL
	struct ucred sender;
	uint32_t size, offset; // offset: already read (streams)
	uint32_t charge;       // bytes of send space
	uint8_t order;         // of its pages; PACKET_SMALL: kalloc
	bool urgent;           // the mark: one byte of urgent data (urgent.c)
	char *data;            // size bytes
};
#define PACKET_SMALL 0xff

struct packet *packet_create(size_t size); // NULL
void packet_free(struct packet *p);        // gives back space, drops rights; no spinlock held

// One send or receive call.
struct message {
	struct iov_iter *data;
	unsigned flags; // MSG_*
	bool nonblock;
	struct net_address address; // send: the target if any; receive: the source
	struct rights *rights;      // send: consumed on success; receive: what came
	struct ucred sender;        // receive
	bool has_sender;
	unsigned out_flags; // receive: MSG_TRUNC and such
};

// ---- sockets ----

enum socket_state { SOCKET_FREE, SOCKET_LISTENING, SOCKET_CONNECTING, SOCKET_CONNECTED, SOCKET_CLOSED };

struct socket {
	struct refcount refs; // its file, its peer, name tables' look-ups, packets it sent
	const struct family *family;
	struct net_namespace *net; // a reference
	int domain, type, protocol;
	struct file *file;      // not counted; NULL: not accepted yet, or closed. lock
	struct waitq wait;      // readers, writers, accept, connect, poll
	struct mutex read_lock; // serialises readers of a stream while they copy

	struct spinlock lock; // guards all below but what says otherwise
	enum socket_state state;
	struct socket *peer;         // connected: the other end (streams), or the default target (datagrams); counted
	struct net_channel *channel; // its way out of the cell, or NULL; counted
	unsigned channel_waiting;    // listening: connections in the backlog that came by it
	bool outside;                // datagrams: connected to the outside
	bool shut_read, shut_write, peer_gone;
	bool connect_reported; // inet: a non-blocking connect has told of its success
	struct list receive;   // struct packet
	size_t receive_bytes;
	unsigned receive_count;
	struct packet *urgent_mark; // streams: of the urgent data that came last, while it is in the queue
	bool urgent_unread;         // its byte can still be had by MSG_OOB
	size_t sent_bytes;          // of packets not yet read by others; atomic
	int error;                  // for SO_ERROR and the next call; atomic

	struct list backlog; // listening: struct socket.backlog_node, each counted
	struct list backlog_node;
	unsigned backlog_count, backlog_max;

	struct net_address name;      // bound name, or size 0
	struct net_address peer_name; // inet: where it is connected to
	struct path bound_path;       // unix: file-system name
	struct list name_node;        // unix abstract names, inet ports: the family's lock
	bool named;                   // on the family's table
	struct ucred self, peer_cred;

	// options; own calls, racy reads
	uint64_t receive_timeout_ns, send_timeout_ns; // 0: none
	uint32_t send_space, receive_space;
	uint32_t flags; // SOCKET_*
	int32_t linger_seconds, priority, mark, receive_low;
	int32_t protocol_options[28]; // TCP_*, IP_* and such: kept for getsockopt

	// unix garbage, see unix_rights.c; its lock
	unsigned inflight, external;
	struct list inflight_node;
	bool reachable;
	void *private; // family's

	struct list all_node;          // of all sockets: sockets_lock (socket.c)
	uint64_t lo_packets, lo_bytes; // that came from sockets of the cell; lock, racy reads
};
#define SOCKET_REUSEADDR 0x001u
#define SOCKET_REUSEPORT 0x002u
#define SOCKET_KEEPALIVE 0x004u
#define SOCKET_BROADCAST 0x008u
#define SOCKET_OOBINLINE 0x010u
#define SOCKET_PASSCRED  0x020u
#define SOCKET_TIMESTAMP 0x040u
#define SOCKET_LINGER    0x080u
#define SOCKET_DONTROUTE 0x100u
#define SOCKET_V6ONLY    0x200u
#define SOCKET_PASSSEC   0x400u

#define SOCKET_SPACE_DEFAULT 212992u // net.core.wmem_default
#define SOCKET_SPACE_MIN     4608u
#define SOCKET_SPACE_MAX     (8u << 20)
#define SOCKET_QUEUE_MAX     1024u // datagrams waiting at one receiver

struct family {
	int domain;
	const char *name;
	// Checks type and protocol, sets s->protocol. 0, -EPROTONOSUPPORT, -ESOCKTNOSUPPORT...
	int (*create)(struct socket *s, int protocol);
	int (*bind)(struct socket *s, const struct net_address *a);
	int (*autobind)(
		struct socket *s); // a name of its own before it connects or sends, where the family needs one; NULL
	// The socket bound to `a` that a socket of s's type may reach; referenced; err_ptr.
	struct socket *(*find)(struct socket *s, const struct net_address *a);
	// The name to report; peer: of the other end. 0 or -ENOTCONN.
	int (*get_name)(struct socket *s, bool peer, struct net_address *out);
	// What a receiver in `domain` sees as the source of a datagram to `to`. NULL: the name.
	void (*source)(struct socket *s, const struct net_address *to, int domain, struct net_address *out);
	void (*unbind)(struct socket *s);                                                        // last use is over
	int (*set_option)(struct socket *s, int level, int option, struct uptr value, int size); // -ENOPROTOOPT; NULL
	int (*get_option)(struct socket *s, int level, int option, struct uptr value, struct uptr size);
	bool (*tells_hops)(
		const struct socket *s); // is a receiver to be told how far a datagram may still go? NULL: no
	// Replace the generic ones (netlink, ping); NULL
	ssize_t (*send)(struct socket *s, struct message *m);
	// Ways out of the cell; each says 1 when it is none of its business. NULL: there are none.
	int (*connect_outside)(struct socket *s, const struct net_address *a, bool nonblock);
	int (*listen_outside)(struct socket *s); // it listens, with backlog_max set
	ssize_t (*send_outside)(struct socket *s, struct message *m);
	bool refuses_async; // a non-blocking connect says EINPROGRESS first (TCP)
};
extern const struct family unix_family, inet_family, inet6_family, netlink_family, vsock_family;

extern uint64_t socket_count;                                                              // atomic
struct socket *socket_create(const struct family *f, int type, struct net_namespace *net); // refs = 1; NULL
static inline void socket_get(struct socket *s) { refcount_get(&s->refs); }
void socket_put(struct socket *s); // no spinlock held
// The next of all sockets, referenced, after `previous`, which is put; NULL to begin, and at the end.
struct socket *socket_next(struct socket *previous);
// What went over a loopback interface since the namespace began: internet sockets' data, with the headers it would have had.
void socket_loopback_count(const struct net_namespace *net, uint64_t *packets, uint64_t *bytes);
struct file *socket_file(struct socket *s, int flags); // its file; consumes the reference. err_ptr
int socket_install(struct socket *s,
		   int flags); // makes file and descriptor (SOCK_*); consumes the reference. fd or -errno
struct socket *socket_from_file(struct file *f); // NULL: no socket
extern const struct file_ops socket_file_ops;

static inline bool socket_is_connection(const struct socket *s)
{
	return s->type == SOCK_STREAM || s->type == SOCK_SEQPACKET;
}
static inline int socket_take_error(struct socket *s)
{
	return __atomic_load_n(&s->error, __ATOMIC_RELAXED) ? __atomic_exchange_n(&s->error, 0, __ATOMIC_RELAXED) : 0;
}
struct socket *socket_peer_get(struct socket *s); // reference or NULL
struct ucred socket_current_cred(void);
struct ucred socket_cred_shown(struct ucred c); // as the current task sees it

// connection.c
int socket_connect(struct socket *s, const struct net_address *a, bool nonblock);
int socket_listen(struct socket *s, int backlog);
struct socket *socket_accept(struct socket *s, bool nonblock); // err_ptr; referenced
void socket_join(struct socket *a, struct socket *b);          // socketpair
int socket_shutdown(struct socket *s, int how);
void socket_close(struct socket *s); // its file goes

// transfer.c
ssize_t socket_send(struct socket *s, struct message *m);
ssize_t socket_receive(struct socket *s, struct message *m);
unsigned socket_poll(struct socket *s);
bool socket_deliver(struct socket *to,
		    struct packet *p); // appends, wakes; false: it takes no more (p is still the caller's)

// urgent.c: streams with one byte of urgent data. The first three: lock held.
void urgent_deliver(struct socket *to, struct packet *p); // `p` joins the queue
void urgent_taken(struct socket *s, struct packet *p);    // `p` leaves the queue
bool urgent_readable(const struct socket *s);             // is there more than a mark that is not read in line?
void urgent_signal(struct socket *s);                     // SIGURG to the owner. Task context
// What a reader in line finds at the mark: true: the byte is part of what it reads.
static inline bool urgent_in_line(const struct socket *s) { return s->flags & SOCKET_OOBINLINE; }
ssize_t urgent_receive(struct socket *s, struct message *m); // MSG_OOB
bool urgent_at_mark(struct socket *s);                       // sockatmark(3)

// channel.c: sockets that leave the cell
struct net_channel *socket_channel_get(struct socket *s); // reference or NULL
int socket_set_channel(struct socket *s, struct net_channel *c,
		       enum socket_state state);                   // from FREE; 0, -EISCONN, -EALREADY
void socket_drop_channel(struct socket *s, struct net_channel *c); // if it is this one
int socket_wait_answer(struct socket *s, struct net_channel *c,
		       uint64_t deadline); // 0, -errno of the answer or the wait
int socket_wait_connected(struct socket *s, bool nonblock);
ssize_t channel_send(struct socket *s, struct message *m);
ssize_t channel_receive(struct socket *s, struct message *m);
unsigned channel_poll(struct socket *s, struct net_channel *c);
int channel_take_error(struct socket *s); // positive, of a connection to the outside, else 0

#define SEND_INSIDE ((ssize_t)1 << 62) // of family.send_outside
// outside.c: may a datagram from outside reach the socket? Sets the name of its sender.
bool outside_hears(struct socket *s, const struct outside_endpoint *from, struct net_address *name);

// unix_rights.c
int rights_from_fds(const int *fds, unsigned count, struct rights **out);
void rights_drop(struct rights *r);   // closes what was not received
void rights_landed(struct rights *r); // files left their socket: they are no longer in flight
void rights_collect(void);            // frees unreachable cycles; after a close

// option.c
int socket_set_option(struct socket *s, int level, int option, struct uptr value, int size);
int socket_get_option(struct socket *s, int level, int option, struct uptr value, struct uptr size);
int option_put(struct uptr value, struct uptr size, const void *data, unsigned data_size);
