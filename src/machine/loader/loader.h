/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.h - put a kernel, its initrd and command line into guest RAM, and say where
 * the first vCPU starts.
 *
 * Knows three formats, told apart by their bytes: bzImage (the 64-bit boot
 * protocol, 2.12 or later), ELF with a PVH note, and Multiboot 1 (ELF or with
 * addresses in its header).  Files are hostile.
 *
 * The loader owns guest RAM below 640 KiB (layout.h) and uses low RAM from 1 MiB up.
 */
#pragma once

#include "base/err.h"
#include "cpu/state.h"
#include "mem/mem.h"

enum loader_e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };
enum { LOADER_MAX_E820 = 128 };

struct loader_e820 {
	gpa_t gpa;
	uint64_t bytes;
	uint32_t type;
};

struct loader_config {
	const char *kernel; /* path: named in messages, opened when kernel_fd is -1 */
	int kernel_fd;	    /* or an open file: borrowed, read with pread() only */
	const char *initrd; /* NULL: none */
	int initrd_fd;	    /* as kernel_fd */
	const char *cmdline; /* NULL: empty */
	uint64_t low_bytes;  /* RAM from 0 up, at most 0xc0000000; at least 2 MiB */
	uint64_t high_bytes; /* RAM from 4 GiB up */
	gpa_t rsdp;	     /* 0: none */
	const struct loader_e820 *e820; /* the memory map for the guest */
	unsigned ne820;			/* 1 to LOADER_MAX_E820 */
};

enum loader_format { LOADER_BZIMAGE, LOADER_PVH, LOADER_MULTIBOOT };

struct loader_result {
	enum loader_format format;
	gpa_t entry;
	gpa_t kernel, kernel_end; /* what the kernel occupies, bss and all */
	gpa_t initrd;
	uint64_t initrd_bytes; /* 0: none */
};

/*
 * Load, and set @bsp as the format's protocol wants it (complete: begins with
 * cpu_state_reset()).  RAM the kernel expects to be zero is zeroed, so a machine
 * that ran before may be loaded again.  No vCPU runs meanwhile.
 * Errors with a sentence: missing, truncated, not a kernel, does not fit (says how
 * much RAM would do), command line too long.
 */
MUST_CHECK int loader_load(struct mem *mem, const struct loader_config *cfg, struct cpu_state *bsp,
			   struct loader_result *out, struct errbuf *err);

/* "bzImage", "PVH", "Multiboot" */
const char *loader_format_name(enum loader_format format);

/*
 * What firmware would have left in every vCPU's MTRRs: RAM write-back, and the hole
 * from 3 to 4 GiB uncached.  loader_load() does it for @bsp; all must be alike.
 */
void loader_set_mtrrs(struct cpu_state *s);
