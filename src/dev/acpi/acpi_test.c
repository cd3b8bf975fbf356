// SPDX-License-Identifier: Apache-2.0
/*
 * acpi_test.c - the ACPI tables: structure by hand, contents by the reference
 * compiler (iasl), which disassembles each table and compiles it again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "dev/acpi/aml.h"
#include "dev/acpi/pm.h"
#include "dev/acpi/tables.h"

enum { BASE = 0xe0000 };

static struct acpi_config config(unsigned ncpus)
{
	return (struct acpi_config){
		.ncpus = ncpus,
		.base = BASE,
		.pm_port = 0x600,
		.sci_gsi = 9,
		.ecam_base = 0xe0000000,
		.ecam_size = 0x10000000,
		.mmio32_base = 0xc0000000,
		.mmio32_size = 0x20000000,
		.mmio64_base = 0x8000000000,
		.mmio64_size = 0x8000000000,
		.serial_port = 0x3f8,
		.serial_gsi = 4,
	};
}

struct blob {
	uint8_t *p;
	size_t len;
};

static struct blob build(unsigned ncpus)
{
	struct acpi_config c = config(ncpus);
	struct errbuf err = {0};
	struct blob b = {0};

	assert_int_equal(acpi_build(&c, &b.p, &b.len, &err), 0);
	return b;
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

/* The table at guest address @gpa, which must lie inside the blob. */
static const uint8_t *at(const struct blob *b, uint64_t gpa, size_t min)
{
	assert_in_range(gpa, BASE, BASE + b->len - min);
	return b->p + (gpa - BASE);
}

static const uint8_t *find(const struct blob *b, const char *sig)
{
	const uint8_t *xsdt = at(b, get64(b->p + 24), 36), *t;

	for (unsigned i = 0; i < (get32(xsdt + 4) - 36) / 8; i++) {
		t = at(b, get64(xsdt + 36 + i * 8), 36);
		if (!memcmp(t, sig, 4))
			return t;
		if (!strcmp(sig, "DSDT") && !memcmp(t, "FACP", 4))
			return at(b, get64(t + 140), 36);
	}
	fail_msg("no %s", sig);
	return NULL;
}

static void every_table_has_its_length_and_a_zero_checksum(void **state)
{
	static const char *const sigs[] = {"FACP", "APIC", "MCFG", "DSDT"};
	struct blob b = build(4);
	const uint8_t *xsdt = at(&b, get64(b.p + 24), 36);

	assert_memory_equal(b.p, "RSD PTR ", 8);
	assert_int_equal(sum(b.p, 20), 0);
	assert_int_equal(sum(b.p, 36), 0);
	assert_int_equal(sum(xsdt, get32(xsdt + 4)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++) {
		const uint8_t *t = find(&b, sigs[i]);

		assert_in_range(get32(t + 4), 36, b.len - (size_t)(t - b.p));
		assert_int_equal(sum(t, get32(t + 4)), 0);
	}
	free(b.p);
}

static void fadt_agrees_with_the_register_block(void **state)
{
	struct blob b = build(1);
	const uint8_t *f = find(&b, "FACP");

	assert_int_equal(get32(f + 4), 276);
	assert_int_equal(f[8], 6);
	assert_int_equal(get32(f + 36) % 64, 0); /* FACS */
	assert_memory_equal(at(&b, get32(f + 36), 64), "FACS", 4);
	assert_int_equal(get32(f + 40), get64(f + 140)); /* DSDT and X_DSDT */
	assert_int_equal(f[46], 9);
	assert_int_equal(get32(f + 56), 0x600 + PM_EVENT);
	assert_int_equal(get32(f + 64), 0x600 + PM_CONTROL);
	assert_int_equal(get32(f + 76), 0x600 + PM_TIMER);
	assert_int_equal(get32(f + 80), 0x600 + PM_GPE0);
	assert_int_equal(get64(f + 116 + 4), 0x600 + PM_RESET);
	assert_int_equal(f[128], PM_RESET_VALUE);
	assert_int_equal(get32(f + 112) & 1 << 4, 0);	   /* power button is a fixed feature */
	assert_int_equal(get32(f + 112) & 1 << 20, 0);	   /* not hardware-reduced */
	assert_int_equal(get32(f + 112) & 1 << 8, 1 << 8); /* 32-bit timer */
	free(b.p);
}

static void madt_lists_each_processor_once_and_the_wiring(void **state)
{
	struct blob b = build(64);
	const uint8_t *m = find(&b, "APIC"), *p, *end = m + get32(m + 4);
	unsigned cpus = 0, ioapics = 0, overrides = 0, nmis = 0;

	for (p = m + 44; p < end; p += p[1]) {
		assert_true(p[1] >= 2 && p + p[1] <= end);
		if (p[0] == 0)
			assert_int_equal(p[3], cpus++);
		ioapics += p[0] == 1;
		nmis += p[0] == 4;
		if (p[0] == 2) {
			overrides++;
			if (p[3] == 0)
				assert_int_equal(get32(p + 4), 2);
			else
				assert_int_equal(p[8], 0x0d); /* SCI: level, high */
		}
	}
	assert_int_equal(cpus, 64);
	assert_int_equal(ioapics, 1);
	assert_int_equal(overrides, 2);
	assert_int_equal(nmis, 1);
	free(b.p);
}

static void tables_of_64_processors_fit_below_one_mib(void **state)
{
	struct blob b = build(64);

	assert_in_range(b.len, 1000, 64 * 1024);
	free(b.p);
}

static void impossible_configurations_are_refused_with_a_sentence(void **state)
{
	struct acpi_config c[5];
	struct errbuf err = {0};
	uint8_t *p;
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		c[i] = config(1);
	c[0].ncpus = 0;
	c[1].ncpus = 65;
	c[2].base = 0x100000;
	c[3].base = 0xe0010;
	c[4].sci_gsi = 16;
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		err = (struct errbuf){0};
		assert_true(acpi_build(&c[i], &p, &len, &err) < 0);
		assert_int_not_equal(err.msg[0], 0);
	}
}

static void a_package_length_takes_as_many_bytes_as_it_needs(void **state)
{
	static const struct {
		size_t body;
		uint8_t enc[4];
		unsigned n;
	} c[] = {
		{0, {0x01}, 1},		 {62, {0x3f}, 1},
		{63, {0x41, 0x04}, 2},					/* 65 = 4 << 4 | 1 */
		{4093, {0x4f, 0xff}, 2}, {4094, {0x81, 0x00, 0x01}, 3}, /* 4097 */
	};

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		struct aml a = {0};
		size_t mark;

		aml_byte(&a, 0xaa);
		mark = a.len;
		for (size_t k = 0; k < c[i].body; k++)
			aml_byte(&a, 0x55);
		aml_end(&a, mark);
		assert_int_equal(a.len, 1 + c[i].n + c[i].body);
		assert_int_equal(a.buf[0], 0xaa);
		assert_memory_equal(a.buf + 1, c[i].enc, c[i].n);
		aml_fini(&a);
	}
}

/* --- iasl ---------------------------------------------------------------------------- */

static bool have_iasl(void)
{
	return system("iasl -v >/dev/null 2>&1") == 0;
}

/* Run @cmd in @dir; its output must end with a clean bill of health. */
static void expect_clean(const char *dir, const char *cmd)
{
	char line[512], out[65536] = "";
	size_t len = 0;
	FILE *f;

	snprintf(line, sizeof(line), "cd %s && %s 2>&1", dir, cmd);
	f = popen(line, "r");
	assert_non_null(f);
	len = fread(out, 1, sizeof(out) - 1, f);
	out[len] = 0;
	if (pclose(f) != 0 || !strstr(out, "0 Errors, 0 Warnings"))
		fail_msg("%s:\n%s", cmd, out);
}

static void recompile(const char *dir, const struct blob *b, const char *sig)
{
	const uint8_t *t = find(b, sig);
	char path[128], cmd[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.aml", dir, sig);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(t, 1, get32(t + 4), f), get32(t + 4));
	fclose(f);
	/* behind the header (which names the compiler) every byte must come back */
	snprintf(cmd, sizeof(cmd),
		 "iasl -d %s.aml >%s.log 2>&1 && ! grep -iE 'error|warning' %s.log && "
		 "iasl -oa -p again-%s %s.dsl && cmp -i 36 %s.aml again-%s.aml",
		 sig, sig, sig, sig, sig, sig, sig);
	expect_clean(dir, cmd);
}

static void iasl_takes_each_table_apart_and_compiles_it_again(void **state)
{
	static const char *const sigs[] = {"FACP", "APIC", "MCFG", "DSDT"};
	static const unsigned ncpus[] = {1, 64};
	char dir[] = "/tmp/acpi-test-XXXXXX", cmd[64];

	if (!have_iasl()) {
		print_message("skipped: iasl (acpica-tools) is not installed\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	for (size_t n = 0; n < ARRAY_SIZE(ncpus); n++) {
		struct blob b = build(ncpus[n]);

		for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
			recompile(dir, &b, sigs[i]);
		free(b.p);
	}
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_table_has_its_length_and_a_zero_checksum),
		cmocka_unit_test(fadt_agrees_with_the_register_block),
		cmocka_unit_test(madt_lists_each_processor_once_and_the_wiring),
		cmocka_unit_test(tables_of_64_processors_fit_below_one_mib),
		cmocka_unit_test(impossible_configurations_are_refused_with_a_sentence),
		cmocka_unit_test(a_package_length_takes_as_many_bytes_as_it_needs),
		cmocka_unit_test(iasl_takes_each_table_apart_and_compiles_it_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
