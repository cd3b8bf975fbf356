/* SPDX-License-Identifier: Apache-2.0 */
/* look_test.c - dumps say what was translated, and to what; perf's map names it. */
#define GUEST_ENGINE engine_soft
#include "cpu/interp/guest.h"

#include <stdio.h>
#include <sys/mman.h>

#include "cpu/dbt/disasm.h"
#include "cpu/dbt/look.h"

GUEST_CODE(small, "code64",
	   "movl $0x20000, %edi\n"
	   "cmpq %rsi, %rdx\n"
	   "movq 8(%rdi), %rax\n"
	   "movq (%rdi), %rbx\n"
	   "je 1f\n"
	   "movb %al, (%rdi)\n"
	   "1: cpuid\n"
	   "hlt\n");

static int setup(void **state)
{
	struct guest *g = guest_new(1);

	guest_long(g);
	guest_load(g, G_CODE, small);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	guest_free(*state);
	return 0;
}

/* What is written to a file of its own while the guest runs, up to 64 KiB; freed by the caller. */
static char *text_of_run(struct guest *g, struct engine_look look)
{
	char *text = calloc(1, 65536);
	int fd = memfd_create("look", 0);

	assert_true(text && fd >= 0);
	look.dump_fd = look.perf_fd = fd;
	g->vm->dbt->look = look;
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_true(pread(fd, text, 65535, 0) >= 0);
	g->vm->dbt->look = (struct engine_look){0};
	close(fd);
	return text;
}

static struct engine_look all_passes(void)
{
	return (struct engine_look){
		.dump = ENGINE_DUMP_OPS | ENGINE_DUMP_IR | ENGINE_DUMP_ASM,
		.dump_max = 65536,
		.last = UINT64_MAX,
	};
}

static void assert_has(const char *text, const char *what)
{
	if (!strstr(text, what))
		fail_msg("'%s' is not in:\n%s", what, text);
}

static void each_pass_is_dumped_with_guest_addresses(void **state)
{
	char *text = text_of_run(*state, all_passes());

	assert_has(text, "block 0000000000010000 supervisor");
	assert_has(text, "  ops\n    0000000000010000  bf00000200             mov edi, 0x20000\n");
	assert_has(text, "    000000000001000f  7402                   jz 0000000000010013\n");
	assert_has(text, "  ir\n");
	assert_has(text, "native   sets all    -");
	assert_has(text, "native   -           rax            host       read 8 (site ");
	assert_has(text, "flags cmp rdx, rsi)");
	assert_has(text, "helper   at home     any");
	assert_has(text, "op cpuid");
	assert_has(text, "  asm at ");
	assert_has(text, "    0000000000010008  mov rax, [rdi+0x8]\n");
	assert_has(text, "tlb.super[]");
	assert_has(text, "group 1 of 2 accesses, 16 bytes\n");
	assert_has(text, "in group 1\n");
	assert_has(text, "link to 10013, flags in the host's");
	assert_has(text, "read 8 of 10008, flags cmp rdx, rsi");
	assert_has(text, "jmp helper");
	assert_null(strstr(text, "(bad)"));
	free(text);
}

GUEST_CODE(twice, "code64",
	   "callq *%r12\n"
	   "callq *%r13\n"
	   "hlt\n");
GUEST_CODE(callee, "code64",
	   "movq (%rdi), %rax\n"
	   "ret\n");

static void a_copied_block_is_dumped_and_named_where_it_is(void **state)
{
	struct guest *g = *state;
	struct engine_look look = all_passes();
	char *text;

	guest_load(g, G_CODE, twice);
	guest_load(g, G_CODE + 0x2000, callee);
	poke64(g, G_PML4 + 3 * 8, G_PDPT | 7);
	poke64(g, G_PML4 + 5 * 8, G_PDPT | 7);
	guest_state(g)->gpr[GPR_R12] = (3ULL << 39) + G_CODE + 0x2000;
	guest_state(g)->gpr[GPR_R13] = (5ULL << 39) + G_CODE + 0x2000;
	guest_state(g)->gpr[GPR_RDI] = G_DATA;
	look.perf_map = true;
	text = text_of_run(g, look);
	assert_has(text, "copied from 0000018000012000\n");
	assert_has(text, "    0000028000012000  488b07                 mov rax, [rdi]\n");
	assert_has(text, "    0000028000012000  (read 8)\n");
	assert_has(text, "read 8 of 28000012000");
	assert_has(text, " guest_0x28000012000_k\n");
	free(text);
}

static void only_passes_asked_for_are_dumped(void **state)
{
	struct engine_look look = all_passes();
	char *text;

	look.dump = ENGINE_DUMP_IR;
	text = text_of_run(*state, look);
	assert_has(text, "  ir\n");
	assert_null(strstr(text, "  ops\n"));
	assert_null(strstr(text, "  asm "));
	free(text);
}

static void blocks_outside_the_range_are_left_out(void **state)
{
	struct engine_look look = all_passes();
	char *text;

	look.first = G_CODE - 16;
	look.last = G_CODE - 1;
	text = text_of_run(*state, look);
	assert_string_equal(text, "");
	free(text);
}

static void a_range_inside_a_block_shows_the_block(void **state)
{
	struct engine_look look = all_passes();
	char *text;

	look.first = look.last = G_CODE + 9;
	text = text_of_run(*state, look);
	assert_has(text, "block 0000000000010000");
	free(text);
}

static void no_more_than_the_bound_is_written(void **state)
{
	struct engine_look look = all_passes();
	char *text;

	look.dump_max = 1000;
	text = text_of_run(*state, look);
	assert_true(strlen(text) <= 1000);
	free(text);
}

static void perf_map_has_a_line_a_block(void **state)
{
	struct guest *g = *state;
	const struct dbt *d = g->vm->dbt;
	char *text = text_of_run(g, (struct engine_look){.perf_map = true});
	char name[32], *line, *rest = text;
	unsigned long long start, rip;
	unsigned size, lines = 0;

	while ((line = strsep(&rest, "\n")) && *line) {
		assert_int_equal(
			sscanf(line, "%llx %x guest_0x%llx_%31s", &start, &size, &rip, name), 4);
		assert_string_equal(name, "k");
		assert_in_range(rip, G_CODE, G_CODE + 0x20);
		assert_in_range(start, (uintptr_t)d->rx + DBT_GLUE_BYTES,
				(uintptr_t)d->rx + d->map_bytes);
		assert_in_range(start + size, start + 1, (uintptr_t)d->rx + d->map_bytes);
		lines++;
	}
	assert_int_equal(lines, d->stats.translated);
	free(text);
}

static void a_block_of_the_past_is_shown_with_its_links(void **state)
{
	struct guest *g = *state;
	const struct dbt *d = g->vm->dbt;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	unsigned shown = 0;

	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_non_null(f);
	for (size_t h = 0; h < 1ul << d->hash_bits; h++)
		for (const struct dbt_block *b = d->hash[h]; b; b = b->next, shown++)
			dbt_dump_block(&g->v->c, b, f);
	fclose(f);
	assert_true(shown > 0);
	assert_has(text, "mov edi, 0x20000");
	assert_has(text, "0000000000010008  (read 8)");
	assert_has(text, "site ");
	free(text);
}

static void any_bytes_disassemble_to_printable_text(void **state)
{
	uint64_t seed = 88172645463325252ULL;

	for (unsigned n = 0; n < 200000; n++) {
		uint8_t code[16];
		struct disasm d;

		for (unsigned i = 0; i < 2; i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			memcpy(code + 8 * i, &seed, 8);
		}
		disasm(code, 1 + n % 16, seed, &d);
		assert_in_range(d.len, 1, 1 + n % 16);
		assert_true(strlen(d.text) < DISASM_TEXT);
		for (const char *p = d.text; *p; p++)
			assert_in_range(*p, 0x20, 0x7e);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_pass_is_dumped_with_guest_addresses),
		TEST(a_copied_block_is_dumped_and_named_where_it_is),
		TEST(only_passes_asked_for_are_dumped),
		TEST(blocks_outside_the_range_are_left_out),
		TEST(a_range_inside_a_block_shows_the_block),
		TEST(no_more_than_the_bound_is_written),
		TEST(perf_map_has_a_line_a_block),
		TEST(a_block_of_the_past_is_shown_with_its_links),
		cmocka_unit_test(any_bytes_disassemble_to_printable_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
