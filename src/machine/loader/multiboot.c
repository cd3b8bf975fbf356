/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multiboot.c - Multiboot 1 kernels (Multiboot Specification 0.6.96).
 *
 * ELF files, or flat ones that say in their header where they go.  The initrd is
 * the first module.  32-bit entry with EAX = magic, EBX = information.
 */
#include "machine/loader/loader.h"

#include <errno.h>
#include <string.h>

enum {
	HEADER_MAGIC = 0x1badb002,
	BOOT_MAGIC = 0x2badb002,
	SEARCH = 8192,
	FLAG_ADDRESSES = 1 << 16,
	FLAGS_UNKNOWN = 0xfff8, /* bits 3..15: requirements nobody defined */

	INFO_MEMORY = 1 << 0,
	INFO_CMDLINE = 1 << 2,
	INFO_MODS = 1 << 3,
	INFO_MMAP = 1 << 6,
	INFO_LOADER_NAME = 1 << 9,
};

struct header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4], mmap_length, mmap_addr, drives_length, drives_addr, config_table;
	uint32_t boot_loader_name;
};

struct module {
	uint32_t start, end, string, reserved;
};

struct mmap_entry {
	uint32_t size;
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));

int64_t multiboot_find(const struct image *img)
{
	uint64_t end = MIN(img->len, (uint64_t)SEARCH);

	for (uint64_t off = 0; off + 12 <= end; off += 4) {
		uint32_t h[3];

		memcpy(h, img->data + off, sizeof(h));
		if (h[0] == HEADER_MAGIC && h[0] + h[1] + h[2] == 0)
			return (int64_t)off;
	}
	return -1;
}

/* The "address fields" of the header: where parts of a flat file go. */
static int load_flat(struct mem *mem, const struct image *img, uint64_t at, const struct header *h,
		     struct elf_info *out, struct errbuf *err)
{
	uint64_t off, len, mem_len;

	if (h->header_addr < h->load_addr || at < h->header_addr - h->load_addr)
		return err_set(err, -ENOEXEC, "kernel '%s': Multiboot addresses before the file",
			       img->name);
	off = at - (h->header_addr - h->load_addr);
	len = h->load_end_addr ? h->load_end_addr - (uint64_t)h->load_addr : img->len - off;
	if (h->load_end_addr && h->load_end_addr < h->load_addr)
		return err_set(err, -ENOEXEC, "kernel '%s': Multiboot load end before its start",
			       img->name);
	mem_len = len;
	if (h->bss_end_addr > h->load_addr + len)
		mem_len = h->bss_end_addr - (uint64_t)h->load_addr;
	*out = (struct elf_info){.entry = h->entry_addr, .end = h->load_addr + mem_len};
	return loader_copy(mem, img, off, len, h->load_addr, mem_len, err);
}

static uint32_t write_memmap(struct mem *mem, const struct loader_config *cfg)
{
	struct e820_entry map[E820_MAX];
	struct mmap_entry out[E820_MAX];
	unsigned n = loader_memmap(cfg, map);

	for (unsigned i = 0; i < n; i++)
		out[i] = (struct mmap_entry){sizeof(out[0]) - 4, map[i].addr, map[i].size,
					     map[i].type};
	if (mem_write(mem, LOAD_MEMMAP, out, n * sizeof(out[0])) < 0)
		return 0;
	return n * (uint32_t)sizeof(out[0]);
}

static int write_info(struct mem *mem, const struct loader_config *cfg, gpa_t initrd,
		      uint64_t initrd_size)
{
	static const char name[] = "Caisson";
	struct module mod = {(uint32_t)initrd, (uint32_t)(initrd + initrd_size), LOAD_CMDLINE, 0};
	struct info info = {
		.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODS | INFO_MMAP | INFO_LOADER_NAME,
		.mem_lower = LOAD_LOW_END >> 10,
		.mem_upper = (uint32_t)((cfg->ram_low - 0x100000) >> 10),
		.cmdline = LOAD_CMDLINE,
		.mods_count = initrd_size ? 1 : 0,
		.mods_addr = LOAD_BOOT_PARAMS + 0x100,
		.mmap_length = write_memmap(mem, cfg),
		.mmap_addr = LOAD_MEMMAP,
		.boot_loader_name = LOAD_BOOT_PARAMS + 0x200,
	};
	int ret = mem_write(mem, LOAD_BOOT_PARAMS, &info, sizeof(info));

	if (!ret)
		ret = mem_write(mem, info.mods_addr, &mod, sizeof(mod));
	return ret ? ret : mem_write(mem, info.boot_loader_name, name, sizeof(name));
}

int multiboot_load(struct mem *mem, const struct image *img, uint64_t at,
		   const struct loader_config *cfg, struct cpu_state *bsp, struct errbuf *err)
{
	struct header h = {0};
	struct elf_info info;
	uint64_t initrd_size;
	gpa_t initrd;
	int ret;

	memcpy(&h, img->data + at, MIN(sizeof(h), img->len - at));
	if (h.flags & FLAGS_UNKNOWN)
		return err_set(err, -ENOTSUP, "kernel '%s' asks for unknown Multiboot features %#x",
			       img->name, h.flags & FLAGS_UNKNOWN);
	ret = h.flags & FLAG_ADDRESSES ? load_flat(mem, img, at, &h, &info, err)
	      : elf_probe(img)	       ? elf_load_segments(mem, img, &info, err)
				       : err_set(err, -ENOEXEC,
						 "kernel '%s': Multiboot file that is no ELF file and "
							 "has no addresses",
						 img->name);
	if (!ret && info.entry > UINT32_MAX)
		ret = err_set(err, -ENOEXEC, "kernel '%s': entry %#llx is beyond 4 GiB", img->name,
			      (unsigned long long)info.entry);
	if (!ret)
		ret = loader_initrd(mem, cfg, info.end, UINT32_MAX, &initrd, &initrd_size, err);
	if (!ret)
		ret = loader_cmdline(mem, cfg, UINT32_MAX, err);
	if (ret)
		return ret;
	if (write_info(mem, cfg, initrd, initrd_size) < 0)
		return err_set(err, -ENOSPC, "kernel '%s': no low memory", img->name);
	loader_flat32(bsp, (uint32_t)info.entry);
	bsp->gpr[GPR_RAX] = BOOT_MAGIC;
	bsp->gpr[GPR_RBX] = LOAD_BOOT_PARAMS;
	return 0;
}
