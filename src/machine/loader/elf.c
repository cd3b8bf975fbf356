/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf.c - ELF kernels: segments, and the PVH entry.
 *
 * PVH (Xen's docs/misc/pvh.pandoc, hvm_start_info in xen/include/public/arch-x86/hvm):
 * a note of type 18 by "Xen" names a 32-bit entry; EBX points to the start info.
 */
#include "machine/loader/loader.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

enum { XEN_ELFNOTE_PHYS32_ENTRY = 18, MAX_SEGMENTS = 64, START_MAGIC = 0x336ec578 };

struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};

struct hvm_modlist_entry {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct hvm_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

bool elf_probe(const struct image *img)
{
	return img->len >= sizeof(Elf32_Ehdr) && !memcmp(img->data, ELFMAG, SELFMAG);
}

static bool in_file(const struct image *img, uint64_t off, uint64_t len)
{
	return off <= img->len && len <= img->len - off;
}

struct segment { /* one program header of either class */
	uint32_t type;
	uint64_t off, vaddr, paddr, filesz, memsz, align;
};

static int bad(const struct image *img, const char *what, struct errbuf *err)
{
	return err_set(err, -ENOEXEC, "kernel '%s': ELF file with %s", img->name, what);
}

static int read_header(const struct image *img, struct elf_info *out, uint64_t *phoff,
		       unsigned *phnum, unsigned *phsize, struct errbuf *err)
{
	const uint8_t *id = img->data;
	Elf64_Ehdr h64;
	Elf32_Ehdr h32;

	if (id[EI_DATA] != ELFDATA2LSB)
		return bad(img, "the wrong byte order", err);
	if (id[EI_CLASS] == ELFCLASS64 && img->len >= sizeof(h64)) {
		memcpy(&h64, id, sizeof(h64));
		if (h64.e_machine != EM_X86_64)
			return bad(img, "code for another processor", err);
		*out = (struct elf_info){.is64 = true, .entry = h64.e_entry};
		*phoff = h64.e_phoff;
		*phnum = h64.e_phnum;
		*phsize = sizeof(Elf64_Phdr);
		return h64.e_phentsize == *phsize ? 0 : bad(img, "odd program headers", err);
	}
	memcpy(&h32, id, sizeof(h32));
	if (id[EI_CLASS] != ELFCLASS32 || (h32.e_machine != EM_386 && h32.e_machine != EM_X86_64))
		return bad(img, "code for another processor", err);
	*out = (struct elf_info){.entry = h32.e_entry};
	*phoff = h32.e_phoff;
	*phnum = h32.e_phnum;
	*phsize = sizeof(Elf32_Phdr);
	return h32.e_phentsize == *phsize ? 0 : bad(img, "odd program headers", err);
}

static struct segment read_segment(const uint8_t *p, bool is64)
{
	Elf64_Phdr h64;
	Elf32_Phdr h32;

	if (is64) {
		memcpy(&h64, p, sizeof(h64));
		return (struct segment){h64.p_type,   h64.p_offset, h64.p_vaddr, h64.p_paddr,
					h64.p_filesz, h64.p_memsz,  h64.p_align};
	}
	memcpy(&h32, p, sizeof(h32));
	return (struct segment){h32.p_type,   h32.p_offset, h32.p_vaddr, h32.p_paddr,
				h32.p_filesz, h32.p_memsz,  h32.p_align};
}

/* The PVH entry among the notes of one PT_NOTE segment, or 0. */
static uint64_t find_pvh(const struct image *img, const struct segment *s)
{
	uint64_t align = s->align == 8 ? 8 : 4, off = s->off, end = s->off + s->filesz;

	if (!in_file(img, s->off, s->filesz))
		return 0;
	while (end - off >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name, desc, next;
		uint64_t val = 0;

		memcpy(&n, img->data + off, sizeof(n));
		name = off + sizeof(n);
		desc = name + ALIGN_UP((uint64_t)n.n_namesz, align);
		next = desc + ALIGN_UP((uint64_t)n.n_descsz, align);
		if (desc > end || n.n_descsz > end - desc)
			return 0;
		if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
		    !memcmp(img->data + name, "Xen", 4) && n.n_descsz >= 4) {
			memcpy(&val, img->data + desc, MIN(n.n_descsz, 8u));
			return val;
		}
		if (next > end)
			return 0;
		off = next;
	}
	return 0;
}

int elf_load_segments(struct mem *mem, const struct image *img, struct elf_info *out,
		      struct errbuf *err)
{
	uint64_t phoff = 0, entry;
	unsigned phnum = 0, phsize = 0, loaded = 0;
	int ret = read_header(img, out, &phoff, &phnum, &phsize, err);

	if (ret)
		return ret;
	entry = out->entry;
	if (!phnum || phnum > MAX_SEGMENTS || !in_file(img, phoff, (uint64_t)phnum * phsize))
		return bad(img, "program headers outside the file", err);
	for (unsigned i = 0; i < phnum; i++) {
		struct segment s =
			read_segment(img->data + phoff + (uint64_t)i * phsize, out->is64);

		if (s.type == PT_NOTE && !out->pvh_entry)
			out->pvh_entry = find_pvh(img, &s);
		if (s.type != PT_LOAD || !s.memsz)
			continue;
		ret = loader_copy(mem, img, s.off, s.filesz, s.paddr, s.memsz, err);
		if (ret)
			return ret;
		out->end = MAX(out->end, s.paddr + s.memsz);
		/* a kernel linked high has a virtual entry, and paging is off */
		if (out->entry - s.vaddr < s.memsz)
			entry = s.paddr + (out->entry - s.vaddr);
		loaded++;
	}
	out->entry = entry;
	return loaded ? 0 : bad(img, "nothing to load", err);
}

static int write_start_info(struct mem *mem, const struct loader_config *cfg, gpa_t initrd,
			    uint64_t initrd_size)
{
	struct e820_entry map[E820_MAX];
	struct hvm_memmap_entry out[E820_MAX];
	struct hvm_modlist_entry mod = {.paddr = initrd, .size = initrd_size};
	struct hvm_start_info info = {
		.magic = START_MAGIC,
		.version = 1,
		.nr_modules = initrd_size ? 1 : 0,
		.modlist_paddr = LOAD_BOOT_PARAMS + sizeof(info),
		.cmdline_paddr = LOAD_CMDLINE,
		.rsdp_paddr = cfg->rsdp,
		.memmap_paddr = LOAD_MEMMAP,
		.memmap_entries = loader_memmap(cfg, map),
	};
	int ret;

	for (unsigned i = 0; i < info.memmap_entries; i++)
		out[i] = (struct hvm_memmap_entry){map[i].addr, map[i].size, map[i].type, 0};
	ret = mem_write(mem, LOAD_BOOT_PARAMS, &info, sizeof(info));
	if (!ret)
		ret = mem_write(mem, LOAD_BOOT_PARAMS + sizeof(info), &mod, sizeof(mod));
	return ret ? ret : mem_write(mem, LOAD_MEMMAP, out, info.memmap_entries * sizeof(out[0]));
}

int elf_load(struct mem *mem, const struct image *img, const struct loader_config *cfg,
	     struct cpu_state *bsp, struct errbuf *err)
{
	struct elf_info info;
	uint64_t initrd_size;
	gpa_t initrd;
	int ret = elf_load_segments(mem, img, &info, err);

	if (ret)
		return ret;
	if (!info.pvh_entry || info.pvh_entry > UINT32_MAX)
		return err_set(err, -ENOEXEC,
			       "kernel '%s' is an ELF file without PVH entry; build it with "
			       "CONFIG_PVH, or give the bzImage",
			       img->name);
	ret = loader_initrd(mem, cfg, info.end, UINT32_MAX, &initrd, &initrd_size, err);
	if (!ret)
		ret = loader_cmdline(mem, cfg, UINT32_MAX, err);
	if (ret)
		return ret;
	if (write_start_info(mem, cfg, initrd, initrd_size) < 0)
		return err_set(err, -ENOSPC, "kernel '%s': no low memory", img->name);
	loader_flat32(bsp, (uint32_t)info.pvh_entry);
	bsp->gpr[GPR_RBX] = LOAD_BOOT_PARAMS;
	return 0;
}
