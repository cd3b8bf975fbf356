/* SPDX-License-Identifier: Apache-2.0 */
/* loader_test.c - handmade kernels of each format, whole and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "machine/loader/loader.h"

enum { RAM = 32 << 20, CODE = 0x90 };

struct fixture {
	struct mem *mem;
	struct loader_config cfg;
	struct cpu_state bsp;
	struct errbuf err;
};

static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	return fd;
}

static void set_up(struct fixture *f, const void *kernel, size_t len)
{
	memset(f, 0, sizeof(*f));
	f->cfg = (struct loader_config){.kernel_fd = file_of(kernel, len),
					.initrd_fd = -1,
					.kernel = "k",
					.initrd = "i",
					.append = "quiet",
					.ram_low = RAM,
					.rsdp = 0xe0000};
	assert_int_equal(mem_new(&f->mem), 0);
	assert_int_equal(mem_add_ram(f->mem, "ram", 0, RAM, &f->err), 0);
}

static void tear_down(struct fixture *f)
{
	close(f->cfg.kernel_fd);
	if (f->cfg.initrd_fd >= 0)
		close(f->cfg.initrd_fd);
	mem_free(f->mem);
}

static int load(struct fixture *f)
{
	return loader_load(f->mem, &f->cfg, &f->bsp, &f->err);
}

static void put(uint8_t *p, unsigned off, unsigned size, uint64_t v)
{
	memcpy(p + off, &v, size);
}

/* A bzImage with one setup sector more and 4 KiB of code. */
static size_t make_bzimage(uint8_t *p)
{
	size_t len = 1024 + 4096;

	memset(p, 0, len);
	put(p, 0x1f1, 1, 1);
	put(p, 0x1f4, 4, 4096 / 16);
	put(p, 0x1fe, 2, 0xaa55);
	put(p, 0x201, 1, 0x66);
	put(p, 0x202, 4, 0x53726448);
	put(p, 0x206, 2, 0x20f);
	put(p, 0x22c, 4, 0x7fffffff);
	put(p, 0x230, 4, 0x200000);
	put(p, 0x234, 1, 1);
	put(p, 0x236, 2, 1);
	put(p, 0x238, 4, 255);
	put(p, 0x258, 8, 0x1000000);
	put(p, 0x260, 4, 0x100000);
	memset(p + 1024, CODE, 4096);
	return len;
}

static size_t make_elf(uint8_t *p, uint32_t paddr, bool pvh)
{
	Elf64_Ehdr eh = {.e_machine = EM_X86_64,
			 .e_phoff = 64,
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 2,
			 .e_entry = paddr};
	Elf64_Phdr load_ph = {.p_type = PT_LOAD,
			      .p_offset = 512,
			      .p_filesz = 256,
			      .p_memsz = 8192,
			      .p_paddr = paddr};
	Elf64_Phdr note = {.p_type = pvh ? PT_NOTE : PT_NULL, .p_offset = 256, .p_filesz = 20};
	Elf64_Nhdr nh = {4, 4, 18};

	memset(p, 0, 1024);
	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(p, &eh, sizeof(eh));
	memcpy(p + 64, &load_ph, sizeof(load_ph));
	memcpy(p + 64 + sizeof(load_ph), &note, sizeof(note));
	memcpy(p + 256, &nh, sizeof(nh));
	memcpy(p + 268, "Xen", 4);
	put(p, 272, 4, paddr + 16);
	memset(p + 512, CODE, 256);
	return 768;
}

static void bzimage_starts_in_long_mode_with_boot_params(void **state)
{
	uint8_t k[8192], *bp;
	struct fixture f;

	set_up(&f, k, make_bzimage(k));
	f.cfg.initrd_fd = file_of("initrd!", 7);
	assert_int_equal(load(&f), 0);
	assert_int_equal(f.bsp.rip, 0x1000200);
	assert_true(f.bsp.efer & EFER_LMA);
	assert_int_equal(f.bsp.cr0, CR0_PE | CR0_PG | CR0_ET);
	bp = mem_ptr(f.mem, f.bsp.gpr[GPR_RSI], 4096);
	assert_non_null(bp);
	assert_int_equal(*(uint32_t *)(bp + 0x228), LOAD_CMDLINE);
	assert_string_equal(mem_ptr(f.mem, LOAD_CMDLINE, 6), "quiet");
	assert_int_equal(*(uint32_t *)(bp + 0x21c), 7);
	assert_memory_equal(mem_ptr(f.mem, *(uint32_t *)(bp + 0x218), 7), "initrd!", 7);
	assert_int_equal(*(uint64_t *)(bp + 0x70), 0xe0000);
	assert_int_equal(*(uint8_t *)mem_ptr(f.mem, 0x1000000, 1), CODE);
	tear_down(&f);
}

static void truncated_bzimage_gets_a_sentence(void **state)
{
	uint8_t k[8192];
	struct fixture f;

	set_up(&f, k, make_bzimage(k) - 1000);
	assert_int_equal(load(&f), -ENOEXEC);
	assert_non_null(strstr(f.err.msg, "truncated"));
	tear_down(&f);
}

static void old_or_32_bit_kernels_get_a_sentence(void **state)
{
	uint8_t k[8192];
	struct fixture f;
	size_t len = make_bzimage(k);

	put(k, 0x206, 2, 0x20a);
	set_up(&f, k, len);
	assert_int_equal(load(&f), -ENOTSUP);
	assert_non_null(strstr(f.err.msg, "2.10"));
	tear_down(&f);
	make_bzimage(k);
	put(k, 0x236, 2, 0);
	set_up(&f, k, len);
	assert_int_equal(load(&f), -ENOTSUP);
	tear_down(&f);
}

static void initrd_that_does_not_fit_says_how_much_is_needed(void **state)
{
	uint8_t k[8192];
	struct fixture f;

	set_up(&f, k, make_bzimage(k));
	f.cfg.initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f.cfg.initrd_fd, 40 << 20), 0);
	assert_int_equal(load(&f), -ENOSPC);
	assert_non_null(strstr(f.err.msg, "40 MiB"));
	assert_non_null(strstr(f.err.msg, "--memory 57M"));
	tear_down(&f);
}

static void kernel_that_does_not_fit_says_how_much_is_needed(void **state)
{
	uint8_t k[8192];
	struct fixture f;
	size_t len = make_bzimage(k);

	put(k, 0x260, 4, 100 << 20);
	set_up(&f, k, len);
	assert_int_equal(load(&f), -ENOSPC);
	assert_non_null(strstr(f.err.msg, "needs 100 MiB"));
	tear_down(&f);
}

static void relocatable_kernel_goes_lower_where_ram_is_short(void **state)
{
	uint8_t k[8192];
	struct fixture f;
	size_t len = make_bzimage(k);

	put(k, 0x260, 4, 20 << 20);
	set_up(&f, k, len);
	assert_int_equal(load(&f), 0);
	assert_int_equal(f.bsp.rip, 0x200200);
	tear_down(&f);
	put(k, 0x234, 1, 0);
	set_up(&f, k, len);
	assert_int_equal(load(&f), -ENOSPC);
	tear_down(&f);
}

static uint64_t entry_of(const uint8_t *tables, unsigned i)
{
	uint64_t v;

	memcpy(&v, tables + i * 8, 8);
	return v;
}

static void page_tables_map_the_first_4_gib_one_to_one(void **state)
{
	static const uint64_t vas[] = {0, 0x1000200, 0x7fffffff, 0xc0000000, 0xffffffff};
	uint8_t k[8192];
	struct fixture f;

	set_up(&f, k, make_bzimage(k));
	assert_int_equal(load(&f), 0);
	for (size_t i = 0; i < ARRAY_SIZE(vas); i++) {
		uint64_t va = vas[i], e = entry_of(mem_ptr(f.mem, f.bsp.cr3, 4096), 0);

		assert_int_equal(e & 3, 3);
		e = entry_of(mem_ptr(f.mem, e & ~4095ULL, 4096), va >> 30);
		assert_int_equal(e & 3, 3);
		e = entry_of(mem_ptr(f.mem, e & ~4095ULL, 4096), va >> 21 & 511);
		assert_int_equal(e & 0x83, 0x83);
		assert_int_equal((e & ~0x1fffffULL) | (va & 0x1fffff), va);
	}
	tear_down(&f);
}

static void long_command_line_is_refused(void **state)
{
	uint8_t k[8192];
	char text[300];
	struct fixture f;

	memset(text, 'x', sizeof(text));
	text[299] = 0;
	set_up(&f, k, make_bzimage(k));
	f.cfg.append = text;
	assert_int_equal(load(&f), -E2BIG);
	assert_non_null(strstr(f.err.msg, "255"));
	tear_down(&f);
}

static void pvh_elf_starts_in_protected_mode_with_start_info(void **state)
{
	uint8_t k[1024];
	struct fixture f;
	const uint32_t *info;

	set_up(&f, k, make_elf(k, 0x200000, true));
	assert_int_equal(load(&f), 0);
	assert_int_equal(f.bsp.rip, 0x200010);
	assert_false(f.bsp.cr0 & CR0_PG);
	assert_true(f.bsp.cr0 & CR0_PE);
	info = mem_ptr(f.mem, f.bsp.gpr[GPR_RBX], 56);
	assert_int_equal(info[0], 0x336ec578);
	assert_int_equal(*(uint8_t *)mem_ptr(f.mem, 0x2000ff, 1), CODE);
	tear_down(&f);
}

static void elf_without_pvh_entry_gets_a_sentence(void **state)
{
	uint8_t k[1024];
	struct fixture f;

	set_up(&f, k, make_elf(k, 0x200000, false));
	assert_int_equal(load(&f), -ENOEXEC);
	assert_non_null(strstr(f.err.msg, "PVH"));
	tear_down(&f);
}

static void elf_segment_outside_ram_gets_a_sentence(void **state)
{
	static const uint32_t addrs[] = {0, 0x1000, RAM - 4096, RAM, 0xfffff000};
	uint8_t k[1024];

	for (size_t i = 0; i < ARRAY_SIZE(addrs); i++) {
		struct fixture f;

		set_up(&f, k, make_elf(k, addrs[i], true));
		assert_int_equal(load(&f), -ENOSPC);
		tear_down(&f);
	}
}

static void multiboot_module_is_the_initrd(void **state)
{
	uint32_t k[256] = {0x1badb002, 0x10000, 0u - 0x1badb002 - 0x10000, 0x100000, 0x100000, 0,
			   0x102000,   0x100040};
	const uint32_t *info, *mod;
	struct fixture f;

	set_up(&f, k, sizeof(k));
	f.cfg.initrd_fd = file_of("module", 6);
	assert_int_equal(load(&f), 0);
	assert_int_equal(f.bsp.rip, 0x100040);
	assert_int_equal(f.bsp.gpr[GPR_RAX], 0x2badb002);
	info = mem_ptr(f.mem, f.bsp.gpr[GPR_RBX], 64);
	assert_int_equal(info[5], 1);
	mod = mem_ptr(f.mem, info[6], 16);
	assert_int_equal(mod[1] - mod[0], 6);
	assert_memory_equal(mem_ptr(f.mem, mod[0], 6), "module", 6);
	tear_down(&f);
}

static void bss_of_a_kernel_loaded_again_is_zero(void **state)
{
	uint8_t k[1024];
	struct fixture f;

	set_up(&f, k, make_elf(k, 0x200000, true));
	memset(mem_ptr(f.mem, 0x200000, 8192), 0xee, 8192);
	assert_int_equal(load(&f), 0);
	assert_int_equal(*(uint8_t *)mem_ptr(f.mem, 0x2000ff, 1), CODE);
	assert_int_equal(*(uint8_t *)mem_ptr(f.mem, 0x200100, 1), 0);
	assert_int_equal(*(uint8_t *)mem_ptr(f.mem, 0x201fff, 1), 0);
	tear_down(&f);
}

static void multiboot_elf_linked_high_starts_at_its_physical_entry(void **state)
{
	uint8_t k[1024];
	struct fixture f;
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	size_t len = make_elf(k, 0x200000, false);

	memcpy(&eh, k, sizeof(eh));
	memcpy(&ph, k + 64, sizeof(ph));
	ph.p_vaddr = 0xffffffff80200000;
	eh.e_entry = ph.p_vaddr + 0x40;
	memcpy(k, &eh, sizeof(eh));
	memcpy(k + 64, &ph, sizeof(ph));
	put(k, 512, 4, 0x1badb002);
	put(k, 516, 4, 0);
	put(k, 520, 4, 0u - 0x1badb002);
	set_up(&f, k, len);
	assert_int_equal(load(&f), 0);
	assert_int_equal(f.bsp.rip, 0x200040);
	tear_down(&f);
}

static void compressed_and_other_files_are_named(void **state)
{
	static const struct {
		const char *bytes, *what;
	} files[] = {
		{"\x1f\x8b\x08", "gzip data"},
		{"\xfd\x37zXZ", "xz data"},
		{"MZ", "an EFI program"},
		{"070701", "an initrd"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char bytes[512] = "";
		struct fixture f;

		memcpy(bytes, files[i].bytes, strlen(files[i].bytes));
		set_up(&f, bytes, sizeof(bytes));
		assert_int_equal(load(&f), -ENOEXEC);
		assert_non_null(strstr(f.err.msg, files[i].what));
		tear_down(&f);
	}
}

static void load_real_kernel(const char *path)
{
	struct fixture f;
	const uint8_t *bp, *code;

	print_message("%s\n", path);
	set_up(&f, "", 0);
	close(f.cfg.kernel_fd);
	mem_free(f.mem);
	f.cfg.kernel = path;
	f.cfg.kernel_fd = open(path, O_RDONLY | O_CLOEXEC);
	f.cfg.ram_low = 512 << 20;
	assert_int_equal(mem_new(&f.mem), 0);
	assert_int_equal(mem_add_ram(f.mem, "ram", 0, f.cfg.ram_low, &f.err), 0);
	if (load(&f))
		fail_msg("%s", f.err.msg);
	bp = mem_ptr(f.mem, f.bsp.gpr[GPR_RSI], 4096);
	assert_memory_equal(bp + 0x202, "HdrS", 4);
	/* startup_64 of every Linux begins with cld; cli */
	code = mem_ptr(f.mem, f.bsp.rip, 2);
	assert_int_equal(code[0], 0xfc);
	assert_int_equal(code[1], 0xfa);
	tear_down(&f);
}

/* CAISSON_TEST_KERNELS: a folder of distributions' kernels. */
static void real_kernels_load(void **state)
{
	const char *dir = getenv("CAISSON_TEST_KERNELS");
	char pattern[512];
	glob_t g;

	if (!dir)
		skip();
	snprintf(pattern, sizeof(pattern), "%s/vmlinuz*", dir);
	assert_int_equal(glob(pattern, 0, NULL, &g), 0);
	for (size_t i = 0; i < g.gl_pathc; i++)
		load_real_kernel(g.gl_pathv[i]);
	globfree(&g);
}

static void a_text_is_no_kernel(void **state)
{
	char text[4096];
	struct fixture f;

	memset(text, 'a', sizeof(text));
	set_up(&f, text, sizeof(text));
	assert_int_equal(load(&f), -ENOEXEC);
	assert_non_null(strstr(f.err.msg, "neither"));
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bzimage_starts_in_long_mode_with_boot_params),
		cmocka_unit_test(truncated_bzimage_gets_a_sentence),
		cmocka_unit_test(old_or_32_bit_kernels_get_a_sentence),
		cmocka_unit_test(initrd_that_does_not_fit_says_how_much_is_needed),
		cmocka_unit_test(kernel_that_does_not_fit_says_how_much_is_needed),
		cmocka_unit_test(relocatable_kernel_goes_lower_where_ram_is_short),
		cmocka_unit_test(page_tables_map_the_first_4_gib_one_to_one),
		cmocka_unit_test(long_command_line_is_refused),
		cmocka_unit_test(pvh_elf_starts_in_protected_mode_with_start_info),
		cmocka_unit_test(elf_without_pvh_entry_gets_a_sentence),
		cmocka_unit_test(elf_segment_outside_ram_gets_a_sentence),
		cmocka_unit_test(multiboot_module_is_the_initrd),
		cmocka_unit_test(bss_of_a_kernel_loaded_again_is_zero),
		cmocka_unit_test(multiboot_elf_linked_high_starts_at_its_physical_entry),
		cmocka_unit_test(compressed_and_other_files_are_named),
		cmocka_unit_test(real_kernels_load),
		cmocka_unit_test(a_text_is_no_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
