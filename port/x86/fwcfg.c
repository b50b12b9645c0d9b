// SPDX-License-Identifier: Apache-2.0
// See fwcfg.h. Linked into the ROM and into the kernel; keeps no state, so that it can run from ROM.
#include "fwcfg.h"

#include "io.h"

#define FW_CFG_SIGNATURE 0x00u
#define FW_CFG_ID        0x01u
#define FW_CFG_DIRECTORY 0x19u

#define FW_CFG_ID_DMA 2u

#define DMA_ERROR  1u
#define DMA_READ   2u
#define DMA_SKIP   4u
#define DMA_SELECT 8u

struct dma_access { // big endian
	uint32_t control;
	uint32_t size;
	uint64_t address;
};

struct directory_entry { // big endian
	uint32_t size;
	uint16_t select;
	uint16_t reserved;
	char name[56];
};

static bool dma(uint32_t control, void *to, uint32_t size)
{
	volatile struct dma_access a __attribute__((aligned(16))) = {
		.control = __builtin_bswap32(control),
		.size = __builtin_bswap32(size),
		.address = __builtin_bswap64((uintptr_t)to),
	};
	uint64_t where = (uintptr_t)&a;

	// The write of the low half starts the transfer.
	out32(PORT_FW_CFG_DMA, __builtin_bswap32((uint32_t)(where >> 32)));
	out32(PORT_FW_CFG_DMA + 4, __builtin_bswap32((uint32_t)where));
	uint32_t left;
	while ((left = __builtin_bswap32(a.control)) & ~DMA_ERROR)
		__asm__ volatile("pause");
	return !left;
}

bool fw_cfg_read(uint16_t selector, bool select, void *to, uint32_t size)
{
	return dma((select ? (uint32_t)selector << 16 | DMA_SELECT : 0) | DMA_READ, to, size);
}

bool fw_cfg_skip(uint16_t selector, bool select, uint32_t size)
{
	return dma((select ? (uint32_t)selector << 16 | DMA_SELECT : 0) | DMA_SKIP, 0, size);
}

bool fw_cfg_present(void)
{
	// Selected through the old interface, which is harmless when there is no such device.
	uint8_t id[4];
	__asm__ volatile("outw %0, %1" : : "a"((uint16_t)FW_CFG_ID), "Nd"((uint16_t)PORT_FW_CFG_SELECTOR));
	for (unsigned i = 0; i < 4; i++)
		id[i] = in8(PORT_FW_CFG_DATA);
	return (id[0] & FW_CFG_ID_DMA) && id[0] != 0xff;
}

static bool same_name(const char *a, const char *b)
{
	for (unsigned i = 0; i < sizeof(((struct directory_entry *)0)->name); i++) {
		if (a[i] != b[i])
			return false;
		if (!a[i])
			return true;
	}
	return false;
}

bool fw_cfg_find(const char *name, struct fw_cfg_file *out)
{
	uint32_t count;
	if (!fw_cfg_read(FW_CFG_DIRECTORY, true, &count, sizeof(count)))
		return false;
	count = __builtin_bswap32(count);
	for (uint32_t i = 0; i < count; i++) {
		struct directory_entry e;
		if (!fw_cfg_read(FW_CFG_DIRECTORY, false, &e, sizeof(e)))
			return false;
		if (!same_name(e.name, name))
			continue;
		out->size_bytes = __builtin_bswap32(e.size);
		out->selector = __builtin_bswap16(e.select);
		return true;
	}
	return false;
}
