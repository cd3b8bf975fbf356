/* SPDX-License-Identifier: Apache-2.0 */
/* cpuid_test.c - models on hosts of several kinds, and what their leaves say. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "cpu/model.h"
#include "cpu/state.h"

static struct cpu_host host_of(const char *vendor)
{
	struct cpu_host h = {.signature = 0x00a20f10, .features = ~0ULL};

	snprintf(h.vendor, sizeof(h.vendor), "%s", vendor);
	snprintf(h.brand, sizeof(h.brand), "A Processor");
	return h;
}

static struct cpu_model model_on(const struct cpu_host *h, const char *name, unsigned ncpus)
{
	struct errbuf err = {0};
	struct cpu_model m;

	if (cpu_model_build(h, name, ncpus, &m, &err))
		fail_msg("%s", err.msg);
	m.tsc_khz = 2595103;
	m.kvm_pv = true;
	return m;
}

static struct cpuid_regs ask(const struct cpu_model *m, uint32_t leaf, uint32_t sub)
{
	struct cpuid_regs r;

	cpuid_query(m, 1, leaf, sub, CR4_OSXSAVE, 7, 0, 0xfee00800, &r);
	return r;
}

static const char *const names[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3", "host", "max"};
static const char *const vendors[] = {"GenuineIntel", "AuthenticAMD", "HygonGenuine"};

static void every_named_model_is_found_on_the_real_host_or_says_what_is_missing(void **state)
{
	struct cpu_model m;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		struct errbuf err = {0};
		int ret = cpu_model_find(names[i], 2, &m, &err);

		if (ret)
			assert_non_null(strstr(err.msg, "lacks"));
		else
			assert_string_equal(m.name, names[i]);
		assert_non_null(strstr(cpu_model_list(), names[i]));
	}
}

static void an_unknown_model_lists_the_known_ones(void **state)
{
	struct errbuf err = {0};
	struct cpu_model m;

	assert_true(cpu_model_find("z80", 1, &m, &err) < 0);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		assert_non_null(strstr(err.msg, names[i]));
}

static void a_host_without_a_required_unit_refuses_the_level(void **state)
{
	struct cpu_host h = host_of("GenuineIntel");
	struct errbuf err = {0};
	struct cpu_model m;

	h.features &= ~BIT(FEAT_AVX2);
	assert_true(cpu_model_build(&h, "x86-64-v3", 1, &m, &err) < 0);
	assert_non_null(strstr(err.msg, "avx2"));
	assert_int_equal(cpu_model_build(&h, "x86-64-v2", 1, &m, &err), 0);
	h.features &= ~BIT(FEAT_AES);
	m = model_on(&h, "host", 1);
	assert_false(cpu_has(&m, FEAT_AVX2));
	assert_false(cpu_has(&m, FEAT_AES));
	assert_false(cpu_has(&m, FEAT_VAES)); /* which needs AES */
	assert_true(cpu_has(&m, FEAT_AVX));
}

static void what_the_engine_does_itself_any_host_can_show(void **state)
{
	struct cpu_host h = host_of("GenuineIntel");
	struct cpu_model m;

	h.features = BIT(FEAT_SSE3);
	m = model_on(&h, "max", 1);
	assert_true(cpu_has(&m, FEAT_SMAP));
	assert_true(cpu_has(&m, FEAT_PCID));
	assert_true(cpu_has(&m, FEAT_X2APIC));
	assert_false(cpu_has(&m, FEAT_AVX));
	assert_false(cpu_has(&m, FEAT_RDRAND));
	m = model_on(&h, "host", 1);
	assert_false(cpu_has(&m, FEAT_SMAP));
	assert_true(cpu_has(&m, FEAT_X2APIC)); /* the machine's, not the host's */
	assert_true(cpu_has(&m, FEAT_TSC_DEADLINE));
}

static void levels_contain_each_other(void **state)
{
	struct cpu_host h = host_of("AuthenticAMD");
	struct cpu_model v1 = model_on(&h, "x86-64-v1", 1), v2 = model_on(&h, "x86-64-v2", 1),
			 v3 = model_on(&h, "x86-64-v3", 1), all = model_on(&h, "max", 1);

	assert_int_equal(v1.features & ~v2.features, 0);
	assert_int_equal(v2.features & ~v3.features, 0);
	assert_int_equal(v3.features & ~all.features, 0);
	assert_false(cpu_has(&v2, FEAT_AVX));
	assert_false(cpu_has(&all, FEAT_MONITOR));
	assert_string_equal(v3.brand, "Caisson x86-64-v3 processor");
	assert_string_equal(all.brand, "A Processor");
	assert_int_equal(all.signature, 0x00a20f10);
}

static void the_vendor_decides_where_syscall_and_sysenter_work(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(vendors); i++) {
		struct cpu_host h = host_of(vendors[i]);
		struct cpu_model m = model_on(&h, "x86-64-v2", 1);
		struct cpuid_regs r = ask(&m, 0, 0);
		char text[13] = "";

		memcpy(text, &r.ebx, 4);
		memcpy(text + 4, &r.edx, 4);
		memcpy(text + 8, &r.ecx, 4);
		assert_string_equal(text, vendors[i]);
		assert_int_equal(m.amd, i != 0);
		assert_int_equal(cpu_has(&m, FEAT_SYSCALL32), m.amd);
		assert_int_equal(cpu_has(&m, FEAT_SYSENTER64), !m.amd);
	}
}

static void every_feature_has_one_bit_and_only_when_the_model_has_it(void **state)
{
	for (unsigned v = 0; v < ARRAY_SIZE(vendors); v++) {
		struct cpu_host h = host_of(vendors[v]);

		for (unsigned n = 0; n < ARRAY_SIZE(names); n++) {
			struct cpu_model m = model_on(&h, names[n], 2);

			for (unsigned i = 0; i < feature_bits_count; i++) {
				const struct feature_bit *f = &feature_bits[i];
				struct cpuid_regs r = ask(&m, f->leaf, f->subleaf);

				assert_int_equal(cpuid_get(&r, f->reg, f->bit),
						 cpu_has(&m, f->feature));
			}
		}
	}
}

static void nothing_is_offered_that_nobody_implements(void **state)
{
	struct cpu_host h = host_of("AuthenticAMD");
	struct cpu_model m = model_on(&h, "max", 4);
	struct cpuid_regs r = ask(&m, 1, 0);

	assert_false(cpuid_get(&r, CPUID_EDX, 1)); /* VME */
	assert_false(cpuid_get(&r, CPUID_ECX, 3)); /* MONITOR */
	assert_false(cpuid_get(&r, CPUID_ECX, 5)); /* VMX */
	assert_true(cpuid_get(&r, CPUID_ECX, 31)); /* a hypervisor is here */
	r = ask(&m, 7, 0);
	assert_int_equal(r.ebx & (1U << 16 | 1U << 17 | 1U << 30 | 1U << 31), 0); /* AVX-512 */
	assert_int_equal(r.edx & (1U << 26 | 1U << 27 | 1U << 31), 0); /* SPEC_CTRL and kin */
	r = ask(&m, 0x80000001, 0);
	assert_false(cpuid_get(&r, CPUID_ECX, 2)); /* SVM */
	r = ask(&m, 0xa, 0);
	assert_int_equal(r.eax, 0); /* no counters */
}

static void registers_show_in_osxsave_apic_and_xsave_sizes(void **state)
{
	struct cpu_host h = host_of("GenuineIntel");
	struct cpu_model m = model_on(&h, "max", 1);
	struct cpuid_regs r;

	cpuid_query(&m, 0, 1, 0, 0, 1, 0, 0xfee00000, &r);
	assert_false(cpuid_get(&r, CPUID_ECX, 27));
	assert_false(cpuid_get(&r, CPUID_EDX, 9));
	cpuid_query(&m, 0, 1, 0, CR4_OSXSAVE, 1, 0, 0xfee00800, &r);
	assert_true(cpuid_get(&r, CPUID_ECX, 27));
	assert_true(cpuid_get(&r, CPUID_EDX, 9));
	cpuid_query(&m, 0, 0xd, 0, 0, 3, 0, 0, &r);
	assert_int_equal(r.eax, 7);
	assert_int_equal(r.ebx, 576);
	assert_int_equal(r.ecx, 832);
	cpuid_query(&m, 0, 0xd, 1, 0, 7, 0, 0, &r);
	assert_int_equal(r.ebx, 832);
	cpuid_query(&m, 0, 0xd, 2, 0, 7, 0, 0, &r);
	assert_int_equal(r.eax, 256);
	assert_int_equal(r.ebx, 576);
	m = model_on(&h, "x86-64-v2", 1);
	r = ask(&m, 0xd, 0);
	assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
}

static void each_vcpu_is_a_core_of_one_package(void **state)
{
	for (unsigned v = 0; v < 2; v++) {
		struct cpu_host h = host_of(vendors[v]);

		for (unsigned n = 1; n <= 255; n++) {
			struct cpu_model m = model_on(&h, "x86-64-v2", n);
			struct cpuid_regs t = ask(&m, 0xb, 0), c = ask(&m, 0xb, 1);

			assert_int_equal(t.ebx, 1);
			assert_int_equal(t.eax, 0);
			assert_int_equal(t.ecx, 0x100);
			assert_int_equal(t.edx, 1);
			assert_int_equal(c.ebx, n);
			assert_int_equal(c.ecx, 0x201);
			assert_in_range(1U << c.eax, n, 2 * n);
			assert_int_equal(ask(&m, 0xb, 2).ecx, 2);
			assert_int_equal(ask(&m, 1, 0).ebx >> 24, 1);
			assert_int_equal(cpuid_get(&(struct cpuid_regs){.edx = ask(&m, 1, 0).edx},
						   CPUID_EDX, 28),
					 n > 1);
			if (m.amd)
				assert_int_equal(ask(&m, 0x80000008, 0).ecx & 0xff, n - 1);
		}
	}
}

static void caches_multiply_out(void **state)
{
	static const uint32_t leaf[] = {4, 0x8000001d};

	for (unsigned v = 0; v < 2; v++) {
		struct cpu_host h = host_of(vendors[v]);
		struct cpu_model m = model_on(&h, "host", 4);
		uint64_t bytes = 0;
		unsigned sub;

		for (sub = 0; ask(&m, leaf[v], sub).eax & 31; sub++) {
			struct cpuid_regs r = ask(&m, leaf[v], sub);

			bytes += ((r.ebx >> 22) + 1ULL) * ((r.ebx & 0xfff) + 1) * (r.ecx + 1ULL);
		}
		assert_int_equal(sub, 4);
		assert_int_equal(bytes, (32 + 32 + 512 + 16384) << 10);
		assert_int_equal(ask(&m, leaf[!v], 0).eax, 0);
	}
}

static void the_tsc_leaf_gives_the_frequency_without_overflow(void **state)
{
	struct cpu_host h = host_of("GenuineIntel");
	struct cpu_model m = model_on(&h, "x86-64-v3", 1);
	static const uint64_t khz[] = {1000000, 2595103, 2400000, 3999999, 800001, 5700123, 33};

	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		struct cpuid_regs r;
		uint64_t back;

		m.tsc_khz = khz[i];
		r = ask(&m, 0x15, 0);
		assert_int_equal(r.ecx, 1000000000);
		assert_in_range(r.ebx, 1, 4294);
		back = 1000000ULL * r.ebx / r.eax;
		assert_in_range(back, khz[i] - khz[i] / 100000 - 1, khz[i] + khz[i] / 100000 + 1);
	}
	m.tsc_khz = 0;
	assert_int_equal(ask(&m, 0x15, 0).eax, 0);
}

static void paravirtual_leaves_follow_the_flag(void **state)
{
	struct cpu_host h = host_of("AuthenticAMD");
	struct cpu_model m = model_on(&h, "x86-64-v2", 1);
	struct cpuid_regs r = ask(&m, 0x40000000, 0);

	assert_memory_equal(&r.ebx, "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(r.eax, 0x40000010);
	assert_int_equal(ask(&m, 0x40000001, 0).eax, 0x1000000 | 0x800 | 0x80 | 8 | 2 | 1);
	assert_int_equal(ask(&m, 0x40000010, 0).eax, 2595103);
	assert_int_equal(ask(&m, 0x40000010, 0).ebx, 1000000);
	m.kvm_pv = false;
	assert_int_equal(ask(&m, 0x40000000, 0).eax, 0);
	assert_int_equal(ask(&m, 0x40000001, 0).eax, 0);
}

static void leaves_end_where_leaf_zero_says(void **state)
{
	for (unsigned v = 0; v < 2; v++) {
		struct cpu_host h = host_of(vendors[v]);
		struct cpu_model m = model_on(&h, "max", 2);
		uint32_t max = ask(&m, 0, 0).eax, ext = ask(&m, 0x80000000, 0).eax;

		for (uint32_t i = 1; i < 64; i++) {
			struct cpuid_regs a = ask(&m, max + i, 0), b = ask(&m, ext + i, 0);

			assert_int_equal(a.eax | a.ebx | a.ecx | a.edx, 0);
			assert_int_equal(b.eax | b.ebx | b.ecx | b.edx, 0);
		}
		assert_int_equal(ask(&m, 0x80000008, 0).eax, 0x3028);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_named_model_is_found_on_the_real_host_or_says_what_is_missing),
		cmocka_unit_test(an_unknown_model_lists_the_known_ones),
		cmocka_unit_test(a_host_without_a_required_unit_refuses_the_level),
		cmocka_unit_test(what_the_engine_does_itself_any_host_can_show),
		cmocka_unit_test(levels_contain_each_other),
		cmocka_unit_test(the_vendor_decides_where_syscall_and_sysenter_work),
		cmocka_unit_test(every_feature_has_one_bit_and_only_when_the_model_has_it),
		cmocka_unit_test(nothing_is_offered_that_nobody_implements),
		cmocka_unit_test(registers_show_in_osxsave_apic_and_xsave_sizes),
		cmocka_unit_test(each_vcpu_is_a_core_of_one_package),
		cmocka_unit_test(caches_multiply_out),
		cmocka_unit_test(the_tsc_leaf_gives_the_frequency_without_overflow),
		cmocka_unit_test(paravirtual_leaves_follow_the_flag),
		cmocka_unit_test(leaves_end_where_leaf_zero_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
