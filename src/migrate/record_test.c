/* SPDX-License-Identifier: Apache-2.0 */
/* record_test.c - state records: round trip, versions, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "migrate/crc32c.h"
#include "migrate/record.h"

struct inner {
	uint8_t a;
	uint64_t b;
};

struct thing {
	uint32_t n;
	bool on;
	uint16_t array[5];
	uint8_t bytes[7];
	struct inner one, many[3];
};

static const struct state_field inner_fields[] = {
	STATE_INT(struct inner, a),
	STATE_INT(struct inner, b),
	STATE_FIELDS_END,
};
static const struct state_field thing_fields[] = {
	STATE_INT(struct thing, n),
	STATE_INT(struct thing, on),
	STATE_ARRAY(struct thing, array),
	STATE_BYTES(struct thing, bytes),
	STATE_STRUCT(struct thing, one, inner_fields),
	STATE_STRUCTS(struct thing, many, inner_fields),
	STATE_FIELDS_END,
};

static int check_thing(void *obj, struct errbuf *err)
{
	struct thing *t = obj;

	return t->n < 100 ? 0 : err_set(err, -EINVAL, "n is %u; below 100 is allowed", t->n);
}

static const struct state_desc thing_desc = {"thing", 3, thing_fields, NULL, check_thing};

static const struct thing sample = {
	.n = 42,
	.on = true,
	.array = {1, 2, 3, 4, 5},
	.bytes = "sixbyt",
	.one = {7, 1ULL << 40},
	.many = {{1, 2}, {3, 4}, {5, 6}},
};

static struct record_buf saved(const struct state_desc *desc, const struct thing *t)
{
	struct record_buf b = {0};
	struct thing copy = *t;

	assert_int_equal(record_save_bytes(&b, "before", 0, 1, "xyz", 3), 0);
	assert_int_equal(record_save(&b, desc, 5, &copy), 0);
	return b;
}

static void crc32c_gives_the_check_value_of_the_standard(void **state)
{
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void what_is_saved_loads_as_it_was(void **state)
{
	struct record_buf b = saved(&thing_desc, &sample);
	struct errbuf err = {0};
	struct thing t = {0};
	const uint8_t *p;
	size_t len;

	assert_int_equal(record_load(b.data, b.len, &thing_desc, 5, &t, &err), 0);
	assert_int_equal(t.n, 42);
	assert_true(t.on);
	assert_memory_equal(t.array, sample.array, sizeof(t.array));
	assert_memory_equal(t.bytes, sample.bytes, sizeof(t.bytes));
	assert_int_equal(t.one.b, sample.one.b);
	assert_int_equal(t.many[2].a, 5);
	assert_int_equal(record_find_bytes(b.data, b.len, "before", 0, &p, &len, &err), 0);
	assert_int_equal(len, 3);
	record_buf_fini(&b);
}

static void another_version_is_refused_with_the_side_to_upgrade(void **state)
{
	struct state_desc newer = thing_desc;
	struct record_buf b;
	struct errbuf err = {0};
	struct thing t = {0};

	newer.version = 4;
	b = saved(&newer, &sample);
	assert_int_equal(record_load(b.data, b.len, &thing_desc, 5, &t, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "upgrade this side"));
	record_buf_fini(&b);
	b = saved(&thing_desc, &sample);
	assert_int_equal(record_load(b.data, b.len, &newer, 5, &t, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "upgrade the side that saved it"));
	record_buf_fini(&b);
}

static void a_value_no_device_can_have_is_refused_by_its_check(void **state)
{
	struct thing wrong = sample, t = {0};
	struct errbuf err = {0};
	struct record_buf b;

	wrong.n = 100;
	b = saved(&thing_desc, &wrong);
	assert_int_equal(record_load(b.data, b.len, &thing_desc, 5, &t, &err), -EINVAL);
	record_buf_fini(&b);
}

/* The fields of "thing" with a byte where the bool is. */
struct byte_thing {
	uint32_t n;
	uint8_t on;
};
struct bool_thing {
	uint32_t n;
	bool on;
};
static const struct state_field byte_fields[] = {
	STATE_INT(struct byte_thing, n),
	{"on", STATE_BOOL, offsetof(struct byte_thing, on), 1, 1, NULL},
	STATE_FIELDS_END,
};
static const struct state_field bool_fields[] = {
	STATE_INT(struct bool_thing, n),
	STATE_INT(struct bool_thing, on),
	STATE_FIELDS_END,
};

static void a_bool_that_is_neither_true_nor_false_is_refused_and_nothing_is_loaded(void **state)
{
	static const struct state_desc save = {"flags", 1, byte_fields, NULL, NULL};
	static const struct state_desc load = {"flags", 1, bool_fields, NULL, NULL};
	struct byte_thing bad = {7, 2};
	struct bool_thing t = {.n = 1};
	struct record_buf b = {0};
	struct errbuf err = {0};

	assert_int_equal(record_save(&b, &save, 0, &bad), 0);
	assert_int_equal(record_load(b.data, b.len, &load, 0, &t, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "field 'on' is 2"));
	assert_int_equal(t.n, 1);
	record_buf_fini(&b);
	bad.on = 1;
	assert_int_equal(record_save(&b, &save, 0, &bad), 0);
	assert_int_equal(record_load(b.data, b.len, &load, 0, &t, &err), 0);
	assert_true(t.on && t.n == 7);
	record_buf_fini(&b);
}

static void a_field_one_side_does_not_have_is_named(void **state)
{
	static const struct state_field one[] = {STATE_INT(struct bool_thing, n), STATE_FIELDS_END};
	static const struct state_desc less = {"flags", 1, one, NULL, NULL};
	static const struct state_desc more = {"flags", 1, bool_fields, NULL, NULL};
	struct bool_thing t = {.n = 1};
	struct record_buf b = {0};
	struct errbuf err = {0};

	assert_int_equal(record_save(&b, &less, 0, &t), 0);
	assert_int_equal(record_load(b.data, b.len, &more, 0, &t, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "field 'on' is missing"));
	record_buf_fini(&b);
	assert_int_equal(record_save(&b, &more, 0, &t), 0);
	assert_int_equal(record_load(b.data, b.len, &less, 0, &t, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "too many"));
	record_buf_fini(&b);
}

/* Behind a right checksum, any payload loads or gets a sentence. */
static void a_forged_payload_loads_or_gets_a_sentence(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	struct record_buf good = {0};
	struct thing copy = sample;

	print_message("seed %u\n", seed);
	srand(seed);
	assert_int_equal(record_save(&good, &thing_desc, 5, &copy), 0);
	for (int i = 0; i < 20000; i++) {
		const uint8_t *payload;
		uint8_t forged[4096];
		struct record_buf b = {0};
		struct errbuf err = {0};
		struct thing t;
		size_t len;

		assert_int_equal(
			record_find_bytes(good.data, good.len, "thing", 5, &payload, &len, &err),
			0);
		assert_true(len <= sizeof(forged));
		memcpy(forged, payload, len);
		for (int k = rand() % 4; k >= 0; k--)
			forged[(size_t)rand() % len] = (uint8_t)rand();
		if (i % 3 == 0)
			len = (size_t)rand() % len;
		assert_int_equal(record_save_bytes(&b, "thing", 5, 3, forged, len), 0);
		if (record_load(b.data, b.len, &thing_desc, 5, &t, &err))
			assert_true(err.msg[0] != 0);
		record_buf_fini(&b);
	}
	record_buf_fini(&good);
}

static void an_absent_section_is_named(void **state)
{
	struct record_buf b = saved(&thing_desc, &sample);
	struct errbuf err = {0};
	struct thing t;

	assert_int_equal(record_load(b.data, b.len, &thing_desc, 6, &t, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "'thing' 6"));
	record_buf_fini(&b);
}

/* Any change and any truncation is found: everything is under a checksum. */
static void damage_anywhere_gets_a_sentence(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	struct record_buf b = saved(&thing_desc, &sample);

	print_message("seed %u\n", seed);
	srand(seed);
	for (int i = 0; i < 20000; i++) {
		struct errbuf err = {0};
		struct thing t;
		size_t at = (size_t)rand() % b.len, cut = b.len;
		uint8_t flip = (uint8_t)(1 + rand() % 255);
		int ret;

		if (i % 4 == 0)
			cut = at;
		else
			b.data[at] ^= flip;
		ret = record_load(b.data, cut, &thing_desc, 5, &t, &err);
		/* only damage to the other section's payload goes unnoticed here */
		if (!ret)
			assert_true(cut == b.len && at < 200);
		else
			assert_true(err.msg[0] != 0);
		if (i % 4)
			b.data[at] ^= flip;
	}
	record_buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_gives_the_check_value_of_the_standard),
		cmocka_unit_test(what_is_saved_loads_as_it_was),
		cmocka_unit_test(another_version_is_refused_with_the_side_to_upgrade),
		cmocka_unit_test(a_value_no_device_can_have_is_refused_by_its_check),
		cmocka_unit_test(
			a_bool_that_is_neither_true_nor_false_is_refused_and_nothing_is_loaded),
		cmocka_unit_test(a_field_one_side_does_not_have_is_named),
		cmocka_unit_test(a_forged_payload_loads_or_gets_a_sentence),
		cmocka_unit_test(an_absent_section_is_named),
		cmocka_unit_test(damage_anywhere_gets_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
