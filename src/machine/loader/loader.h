/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.h - put a kernel, its initrd and command line into guest RAM, and say where
 * the first vCPU starts.
 *
 * Knows three formats, told apart by their bytes: bzImage (the 64-bit boot
 * protocol, 2.12 or later), ELF with a PVH note, and Multiboot 1 (ELF or with
 * addresses in its header).  Files are hostile.
 *
 * The loader owns guest RAM below LOAD_LOW_END and uses low RAM from 1 MiB up.
 */
#pragma once

#include "base/err.h"
#include "cpu/state.h"
#include "mem/mem.h"

struct loader_config {
	int kernel_fd;	    /* borrowed, read with pread() only */
	int initrd_fd;	    /* -1: none */
	const char *kernel; /* their paths, for messages */
	const char *initrd;
	const char *append; /* command line, "" for none */
	uint64_t ram_low;   /* bytes from 0 up, at least 2 MiB, at most 0xc0000000 */
	uint64_t ram_high;  /* bytes from 4 GiB up */
	gpa_t rsdp;	    /* 0: none */
};

/*
 * Load, and set the registers of @bsp, which comes as cpu_state_reset() left it, as the
 * format's protocol wants them.  RAM the kernel expects to be zero is zeroed, so a
 * machine that ran before can be loaded again.  No vCPU runs meanwhile.
 * Errors with a sentence: unreadable, truncated, not a kernel, does not fit (says how
 * much RAM would do), command line too long.
 */
MUST_CHECK int loader_load(struct mem *mem, const struct loader_config *cfg, struct cpu_state *bsp,
			   struct errbuf *err);

/* --- what follows is shared by the loader's files only ------------------------- */

/* Layout of low memory. */
#define LOAD_GDT	 0x1000ULL
#define LOAD_MEMMAP	 0x2000ULL /* one page */
#define LOAD_BOOT_PARAMS 0x7000ULL /* one page: boot_params, start info, Multiboot info */
#define LOAD_PAGE_TABLES 0x8000ULL /* six pages */
#define LOAD_CMDLINE	 0x20000ULL
#define LOAD_CMDLINE_MAX 0x10000ULL
#define LOAD_LOW_END	 0x9fc00ULL

struct image { /* a private copy of the file: nobody changes it under us */
	const uint8_t *data;
	uint64_t len;
	const char *name;
};

enum { E820_MAX = 8, E820_RAM = 1, E820_RESERVED = 2 };
struct e820_entry {
	uint64_t addr, size;
	uint32_t type;
} __attribute__((packed));

struct elf_info {
	bool is64;
	uint64_t entry, pvh_entry; /* pvh_entry 0: none */
	uint64_t end;		   /* of what was loaded */
};

unsigned loader_memmap(const struct loader_config *cfg, struct e820_entry map[E820_MAX]);
/* Copy @len bytes at @off of the file to @gpa, and zero from there to @mem_len. */
MUST_CHECK int loader_copy(struct mem *mem, const struct image *img, uint64_t off, uint64_t len,
			   gpa_t gpa, uint64_t mem_len, struct errbuf *err);
/* As high as fits below @limit, but not below @above.  No initrd: *@size is 0. */
MUST_CHECK int loader_initrd(struct mem *mem, const struct loader_config *cfg, uint64_t above,
			     uint64_t limit, gpa_t *gpa, uint64_t *size, struct errbuf *err);
MUST_CHECK int loader_cmdline(struct mem *mem, const struct loader_config *cfg, uint64_t max,
			      struct errbuf *err);
/* 32-bit protected mode, flat segments, no paging. */
void loader_flat32(struct cpu_state *s, uint32_t entry);

bool bzimage_probe(const struct image *img);
MUST_CHECK int bzimage_load(struct mem *mem, const struct image *img,
			    const struct loader_config *cfg, struct cpu_state *bsp,
			    struct errbuf *err);
bool elf_probe(const struct image *img);
MUST_CHECK int elf_load_segments(struct mem *mem, const struct image *img, struct elf_info *out,
				 struct errbuf *err);
MUST_CHECK int elf_load(struct mem *mem, const struct image *img, const struct loader_config *cfg,
			struct cpu_state *bsp, struct errbuf *err);
/* Offset of the Multiboot header, or -1. */
int64_t multiboot_find(const struct image *img);
MUST_CHECK int multiboot_load(struct mem *mem, const struct image *img, uint64_t at,
			      const struct loader_config *cfg, struct cpu_state *bsp,
			      struct errbuf *err);
