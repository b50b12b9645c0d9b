// SPDX-License-Identifier: Apache-2.0
// The packets of a virtio-vsock device. The device is hostile and may still write to `packet`: it is read once.
#include "vsock.h"

#include "lib/string.h"

bool vsock_packet_parse(const void *packet, size_t size, uint64_t cid, struct virtio_vsock_hdr *out)
{
	if (size < sizeof(*out))
		return false;
	memcpy(out, packet, sizeof(*out));
	if (out->src_cid != VSOCK_HOST || out->dst_cid != cid || out->type != VIRTIO_VSOCK_TYPE_STREAM)
		return false;
	if (out->op == VIRTIO_VSOCK_OP_INVALID || out->op > VIRTIO_VSOCK_OP_CREDIT_REQUEST)
		return false;
	if (out->op != VIRTIO_VSOCK_OP_RW)
		return out->len == 0;
	return out->len && out->len <= size - sizeof(*out);
}
