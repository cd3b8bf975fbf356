/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record_fuzz.c - any bytes as a stream, and any bytes as the payload of a section with
 * right checksums: an object or a sentence, never more.
 */
#include <string.h>

#include "migrate/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct pair {
	uint8_t a;
	uint64_t b;
};

struct thing {
	uint32_t n;
	bool on, flags[3];
	uint16_t array[5];
	uint8_t bytes[7];
	struct pair many[2];
};

static const struct state_field pair_fields[] = {
	STATE_INT(struct pair, a),
	STATE_INT(struct pair, b),
	STATE_FIELDS_END,
};
static const struct state_field thing_fields[] = {
	STATE_INT(struct thing, n),
	STATE_INT(struct thing, on),
	STATE_ARRAY(struct thing, flags),
	STATE_ARRAY(struct thing, array),
	STATE_BYTES(struct thing, bytes),
	STATE_STRUCTS(struct thing, many, pair_fields),
	STATE_FIELDS_END,
};
static const struct state_desc desc = {"thing", 1, thing_fields, NULL, NULL};

static void load(const uint8_t *data, size_t len)
{
	struct errbuf err = {0};
	struct thing t = {0};
	uint8_t bools[4]; /* on and flags */
	const uint8_t *p;
	size_t n;

	if (record_load(data, len, &desc, 0, &t, &err) < 0 && !err.msg[0])
		__builtin_trap();
	/* as bytes: the compiler takes it for granted that a bool is 0 or 1 */
	memcpy(bools, &t.on, sizeof(bools));
	for (unsigned i = 0; i < sizeof(bools); i++)
		if (bools[i] > 1)
			__builtin_trap();
	if (record_find_bytes(data, len, "ram", 0, &p, &n, NULL) == 0 && n && p[n - 1] == p[0])
		return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct record_buf b = {0};
	uint32_t version;

	load(data, len);
	if (len < sizeof(version))
		return 0;
	memcpy(&version, data, sizeof(version));
	if (record_save_bytes(&b, "thing", 0, version % 3, data + 4, len - 4) == 0)
		load(b.data, b.len);
	record_buf_fini(&b);
	return 0;
}
