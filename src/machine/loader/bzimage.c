/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzimage.c - Linux by the 64-bit boot protocol (Documentation/arch/x86/boot.rst).
 *
 * The protected-mode part goes to the kernel's preferred address, or where a
 * relocatable one fits; boot_params, command line, page tables and GDT live in the
 * first MiB; the BSP starts in long mode at the entry + 0x200 with RSI = boot_params.
 */
#include "machine/loader/loader.h"

#include <errno.h>
#include <string.h>

enum { /* offsets in the file and in boot_params alike */
       HDR_START = 0x1f1,
       HDR_SETUP_SECTS = 0x1f1,
       HDR_BOOT_FLAG = 0x1fe, /* 0xaa55 */
       HDR_JUMP = 0x200,      /* its second byte: header length from 0x202 */
       HDR_MAGIC = 0x202,     /* "HdrS" */
       HDR_VERSION = 0x206,
       HDR_TYPE_OF_LOADER = 0x210,
       HDR_LOADFLAGS = 0x211,
       HDR_RAMDISK_IMAGE = 0x218,
       HDR_RAMDISK_SIZE = 0x21c,
       HDR_CMD_LINE_PTR = 0x228,
       HDR_INITRD_ADDR_MAX = 0x22c,
       HDR_KERNEL_ALIGNMENT = 0x230,
       HDR_RELOCATABLE = 0x234,
       HDR_XLOADFLAGS = 0x236,
       HDR_CMDLINE_SIZE = 0x238,
       HDR_PREF_ADDRESS = 0x258,
       HDR_INIT_SIZE = 0x260,
       HDR_END_212 = 0x268,

       BP_ACPI_RSDP = 0x070,
       BP_EXT_RAMDISK_IMAGE = 0x0c0,
       BP_E820_ENTRIES = 0x1e8,
       BP_E820_TABLE = 0x2d0,

       VERSION_MIN = 0x020c,
       XLF_KERNEL_64 = 1,
       LOADED_HIGH = 1,
       CAN_USE_HEAP = 0x80,
       ENTRY_64 = 0x200,
};

static uint64_t field(const uint8_t *p, unsigned off, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p + off, size);
	return v;
}

static void put(uint8_t *p, unsigned off, unsigned size, uint64_t v)
{
	memcpy(p + off, &v, size);
}

bool bzimage_probe(const struct image *img)
{
	return img->len >= HDR_END_212 && field(img->data, HDR_BOOT_FLAG, 2) == 0xaa55 &&
	       field(img->data, HDR_MAGIC, 4) == 0x53726448;
}

static int check_header(const struct image *img, struct errbuf *err)
{
	unsigned version = (unsigned)field(img->data, HDR_VERSION, 2);

	if (version < VERSION_MIN)
		return err_set(
			err, -ENOTSUP,
			"kernel '%s' speaks boot protocol %u.%02u; 2.12 (Linux 3.8) or newer is "
			"needed",
			img->name, version >> 8, version & 0xff);
	if (!(field(img->data, HDR_XLOADFLAGS, 2) & XLF_KERNEL_64))
		return err_set(err, -ENOTSUP, "kernel '%s' has no 64-bit entry", img->name);
	return 0;
}

/* Where the kernel goes: *addr, with room for *room bytes. */
static int place(const struct image *img, const struct loader_config *cfg, uint64_t *addr,
		 uint64_t *room, struct errbuf *err)
{
	uint64_t align = field(img->data, HDR_KERNEL_ALIGNMENT, 4);
	uint64_t pref = field(img->data, HDR_PREF_ADDRESS, 8);

	*room = field(img->data, HDR_INIT_SIZE, 4);
	if (!align || align & (align - 1) || align < 4096)
		return err_set(err, -ENOEXEC, "kernel '%s': alignment %#llx in its header",
			       img->name, (unsigned long long)align);
	*addr = pref;
	if (pref >= 0x100000 && pref < cfg->ram_low && *room <= cfg->ram_low - pref)
		return 0;
	*addr = ALIGN_UP(0x100000ULL, align);
	if (!field(img->data, HDR_RELOCATABLE, 1) || *addr > cfg->ram_low ||
	    *room > cfg->ram_low - *addr)
		return err_set(err, -ENOSPC,
			       "kernel '%s' needs %llu MiB of RAM from %llu MiB on; give at least "
			       "--memory %lluM",
			       img->name, (unsigned long long)(*room + 0xfffff) >> 20,
			       (unsigned long long)pref >> 20,
			       (unsigned long long)((pref >> 20) + (*room >> 20) + 1));
	return 0;
}

/* What follows it in its room needs no zeroing: the kernel unpacks itself over it. */
static int load_code(struct mem *mem, const struct image *img, uint64_t addr, struct errbuf *err)
{
	uint64_t sects = field(img->data, HDR_SETUP_SECTS, 1);
	uint64_t off = ((sects ? sects : 4) + 1) * 512;

	if (off >= img->len)
		return err_set(err, -ENOEXEC,
			       "kernel '%s' is truncated: %llu of more than %llu bytes", img->name,
			       (unsigned long long)img->len, (unsigned long long)off);
	/* the syssize field counts paragraphs of the protected-mode part */
	if (field(img->data, 0x1f4, 4) * 16 > img->len - off + 15)
		return err_set(
			err, -ENOEXEC, "kernel '%s' is truncated: %llu bytes are missing",
			img->name,
			(unsigned long long)(field(img->data, 0x1f4, 4) * 16 - (img->len - off)));
	return loader_copy(mem, img, off, img->len - off, addr, img->len - off, err);
}

static void fill_boot_params(uint8_t *bp, const struct image *img, const struct loader_config *cfg,
			     gpa_t initrd, uint64_t initrd_size)
{
	struct e820_entry map[E820_MAX];
	unsigned n = loader_memmap(cfg, map);
	uint64_t hdr_end = MIN(0x202u + (uint64_t)img->data[HDR_JUMP + 1], (uint64_t)0x290);

	memset(bp, 0, 4096);
	memcpy(bp + HDR_START, img->data + HDR_START, hdr_end - HDR_START);
	put(bp, HDR_TYPE_OF_LOADER, 1, 0xff);
	put(bp, HDR_LOADFLAGS, 1, LOADED_HIGH);
	put(bp, HDR_CMD_LINE_PTR, 4, LOAD_CMDLINE);
	put(bp, HDR_RAMDISK_IMAGE, 4, initrd);
	put(bp, HDR_RAMDISK_SIZE, 4, initrd_size);
	put(bp, BP_ACPI_RSDP, 8, cfg->rsdp);
	put(bp, BP_E820_ENTRIES, 1, n);
	memcpy(bp + BP_E820_TABLE, map, n * sizeof(map[0]));
}

/* The first 4 GiB one to one in 2 MiB pages. */
static int write_page_tables(struct mem *mem)
{
	uint64_t *t = mem_ptr_write(mem, LOAD_PAGE_TABLES, 6 * 4096);

	if (!t)
		return -EFAULT;
	memset(t, 0, 6 * 4096);
	t[0] = (LOAD_PAGE_TABLES + 0x1000) | 3;
	for (unsigned i = 0; i < 4; i++)
		t[512 + i] = (LOAD_PAGE_TABLES + 0x2000 + i * 0x1000ULL) | 3;
	for (uint64_t i = 0; i < 4 * 512; i++)
		t[1024 + i] = i << 21 | 0x83;
	return 0;
}

/* __BOOT_CS is 0x10, __BOOT_DS 0x18. */
static int write_gdt(struct mem *mem)
{
	static const uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};

	return mem_write(mem, LOAD_GDT, gdt, sizeof(gdt));
}

static void enter_long_mode(struct cpu_state *s, uint64_t entry)
{
	const struct cpu_seg code = {0, 0xffffffff, 0x10,
				     ATTR_P | ATTR_S | ATTR_X | ATTR_W | ATTR_A | ATTR_L | ATTR_G};
	const struct cpu_seg data = {0, 0xffffffff, 0x18,
				     ATTR_P | ATTR_S | ATTR_W | ATTR_A | ATTR_DB | ATTR_G};

	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->seg[i] = data;
	s->seg[SEG_CS] = code;
	s->gdt = (struct cpu_dtr){.base = LOAD_GDT, .limit = 31};
	s->cr0 = CR0_PE | CR0_PG | CR0_ET; /* and caches on, unlike after reset */
	s->cr3 = LOAD_PAGE_TABLES;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
	s->rflags = FL_RES1;
	s->rip = entry;
	s->gpr[GPR_RSI] = LOAD_BOOT_PARAMS;
	s->gpr[GPR_RSP] = LOAD_BOOT_PARAMS;
}

int bzimage_load(struct mem *mem, const struct image *img, const struct loader_config *cfg,
		 struct cpu_state *bsp, struct errbuf *err)
{
	uint64_t addr = 0, room = 0, initrd_size = 0;
	gpa_t initrd;
	uint8_t *bp = mem_ptr_write(mem, LOAD_BOOT_PARAMS, 4096);
	int ret = check_header(img, err);

	if (!ret)
		ret = place(img, cfg, &addr, &room, err);
	if (!ret)
		ret = load_code(mem, img, addr, err);
	if (!ret)
		ret = loader_initrd(mem, cfg, addr + MAX(room, img->len),
				    field(img->data, HDR_INITRD_ADDR_MAX, 4) + 1, &initrd,
				    &initrd_size, err);
	if (!ret)
		ret = loader_cmdline(mem, cfg, field(img->data, HDR_CMDLINE_SIZE, 4), err);
	if (ret)
		return ret;
	if (!bp || write_page_tables(mem) < 0 || write_gdt(mem) < 0)
		return err_set(err, -ENOSPC, "kernel '%s': no low memory", img->name);
	fill_boot_params(bp, img, cfg, initrd, initrd_size);
	enter_long_mode(bsp, addr + ENTRY_64);
	return 0;
}
