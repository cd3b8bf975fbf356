// SPDX-License-Identifier: Apache-2.0
/*
 * aml.c - encodings of ACPI Machine Language.
 *
 * A package length comes before what it counts and has a variable size, so it is
 * inserted when the object is closed.  Marks of enclosing objects lie before the
 * insertion and stay right.
 *
 * Source: ACPI 6.4, chapter 20 (grammar), 6.4 (resource descriptors), 19.6.142
 * (ToUUID).
 */
#include "dev/acpi/aml.h"

#include <string.h>

enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_DUAL_NAME = 0x2e,
	OP_MULTI_NAME = 0x2f,
	OP_EXT = 0x5b,
	OP_EXT_DEVICE = 0x82,
	OP_LOCAL0 = 0x60,
	OP_ARG0 = 0x68,
	OP_STORE = 0x70,
	OP_AND = 0x7b,
	OP_OR = 0x7d,
	OP_CREATE_DWORD = 0x8a,
	OP_NOT = 0x92,
	OP_EQUAL = 0x93,
	OP_IF = 0xa0,
	OP_ELSE = 0xa1,
	OP_RETURN = 0xa4,
};

/* --- bytes ------------------------------------------------------------------------ */

void aml_fini(struct aml *a)
{
	free(a->buf);
	*a = (struct aml){0};
}

static bool reserve(struct aml *a, size_t len)
{
	size_t cap = a->cap ? a->cap : 1024;
	uint8_t *buf;

	if (a->failed)
		return false;
	while (cap - a->len < len)
		cap *= 2;
	if (cap == a->cap)
		return true;
	buf = realloc(a->buf, cap);
	if (!buf) {
		a->failed = true;
		return false;
	}
	a->buf = buf;
	a->cap = cap;
	return true;
}

void aml_bytes(struct aml *a, const void *data, size_t len)
{
	if (!len || !reserve(a, len))
		return;
	memcpy(a->buf + a->len, data, len);
	a->len += len;
}

static void little_endian(struct aml *a, uint64_t val, unsigned n)
{
	for (unsigned i = 0; i < n; i++, val >>= 8)
		aml_bytes(a, &(uint8_t){(uint8_t)val}, 1);
}

void aml_byte(struct aml *a, uint8_t val)
{
	little_endian(a, val, 1);
}

void aml_word(struct aml *a, uint16_t val)
{
	little_endian(a, val, 2);
}

void aml_dword(struct aml *a, uint32_t val)
{
	little_endian(a, val, 4);
}

void aml_qword(struct aml *a, uint64_t val)
{
	little_endian(a, val, 8);
}

/* --- names and numbers ---------------------------------------------------------------- */

static void name_seg(struct aml *a, const char *seg, size_t len)
{
	char padded[4] = {'_', '_', '_', '_'};

	memcpy(padded, seg, MIN(len, sizeof(padded)));
	aml_bytes(a, padded, sizeof(padded));
}

void aml_path(struct aml *a, const char *path)
{
	unsigned nsegs = 1;

	if (*path == '\\')
		aml_byte(a, (uint8_t)*path++);
	if (!*path) {
		aml_byte(a, OP_ZERO); /* the root itself */
		return;
	}
	for (const char *p = path; *p; p++)
		nsegs += *p == '.';
	if (nsegs == 2)
		aml_byte(a, OP_DUAL_NAME);
	else if (nsegs > 2) {
		aml_byte(a, OP_MULTI_NAME);
		aml_byte(a, (uint8_t)nsegs);
	}
	while (nsegs--) {
		size_t len = strcspn(path, ".");

		name_seg(a, path, len);
		path += len + 1;
	}
}

void aml_int(struct aml *a, uint64_t val)
{
	if (val <= 1) {
		aml_byte(a, (uint8_t)val);
	} else if (val <= 0xff) {
		aml_byte(a, OP_BYTE);
		aml_byte(a, (uint8_t)val);
	} else if (val <= 0xffff) {
		aml_byte(a, OP_WORD);
		aml_word(a, (uint16_t)val);
	} else if (val <= 0xffffffff) {
		aml_byte(a, OP_DWORD);
		aml_dword(a, (uint32_t)val);
	} else {
		aml_byte(a, OP_QWORD);
		aml_qword(a, val);
	}
}

static unsigned hex(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : ((unsigned)c & 0xdf) - 'A' + 10;
}

void aml_eisa_id(struct aml *a, const char *id)
{
	uint32_t v = (uint32_t)((id[0] - 0x40) << 10 | (id[1] - 0x40) << 5 | (id[2] - 0x40));

	for (unsigned i = 3; i < 7; i++)
		v = v << 4 | hex(id[i]);
	aml_byte(a, OP_DWORD); /* big-endian in memory */
	aml_dword(a, __builtin_bswap32(v));
}

void aml_name(struct aml *a, const char *path)
{
	aml_byte(a, OP_NAME);
	aml_path(a, path);
}

void aml_name_int(struct aml *a, const char *path, uint64_t val)
{
	aml_name(a, path);
	aml_int(a, val);
}

/* --- objects with a length ---------------------------------------------------------------- */

/* PkgLength counts itself: 6 bits in one byte, or 4 and 8 more a byte (20.2.4). */
void aml_end(struct aml *a, size_t mark)
{
	size_t body = a->len - mark, n = 1, len;
	uint8_t enc[4];

	if (body + 1 > 0x3f)
		for (n = 2; body + n >= (size_t)1 << (4 + 8 * (n - 1)) && n < 4;)
			n++;
	len = body + n;
	if (n == 1) {
		enc[0] = (uint8_t)len;
	} else {
		enc[0] = (uint8_t)((n - 1) << 6 | (len & 15));
		for (size_t i = 1; i < n; i++)
			enc[i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
	}
	if (!reserve(a, n))
		return;
	memmove(a->buf + mark + n, a->buf + mark, body);
	memcpy(a->buf + mark, enc, n);
	a->len += n;
}

size_t aml_begin_scope(struct aml *a, const char *path)
{
	size_t mark;

	aml_byte(a, OP_SCOPE);
	mark = a->len;
	aml_path(a, path);
	return mark;
}

size_t aml_begin_device(struct aml *a, const char *path)
{
	size_t mark;

	aml_byte(a, OP_EXT);
	aml_byte(a, OP_EXT_DEVICE);
	mark = a->len;
	aml_path(a, path);
	return mark;
}

size_t aml_begin_method(struct aml *a, const char *path, unsigned nargs)
{
	size_t mark;

	aml_byte(a, OP_METHOD);
	mark = a->len;
	aml_path(a, path);
	aml_byte(a, (uint8_t)(nargs & 7)); /* not serialized */
	return mark;
}

size_t aml_begin_package(struct aml *a, uint8_t nelements)
{
	size_t mark;

	aml_byte(a, OP_PACKAGE);
	mark = a->len;
	aml_byte(a, nelements);
	return mark;
}

size_t aml_begin_if(struct aml *a)
{
	aml_byte(a, OP_IF);
	return a->len;
}

size_t aml_begin_else(struct aml *a)
{
	aml_byte(a, OP_ELSE);
	return a->len;
}

void aml_buffer(struct aml *a, const void *data, size_t len)
{
	size_t mark;

	aml_byte(a, OP_BUFFER);
	mark = a->len;
	aml_int(a, len);
	aml_bytes(a, data, len);
	aml_end(a, mark);
}

/* --- code ------------------------------------------------------------------------------------ */

void aml_arg(struct aml *a, unsigned n)
{
	aml_byte(a, (uint8_t)(OP_ARG0 + n));
}

void aml_local(struct aml *a, unsigned n)
{
	aml_byte(a, (uint8_t)(OP_LOCAL0 + n));
}

void aml_store(struct aml *a)
{
	aml_byte(a, OP_STORE);
}

void aml_and(struct aml *a)
{
	aml_byte(a, OP_AND);
}

void aml_or(struct aml *a)
{
	aml_byte(a, OP_OR);
}

void aml_equal(struct aml *a)
{
	aml_byte(a, OP_EQUAL);
}

void aml_not_equal(struct aml *a)
{
	aml_byte(a, OP_NOT);
	aml_byte(a, OP_EQUAL);
}

void aml_return(struct aml *a)
{
	aml_byte(a, OP_RETURN);
}

void aml_dword_field_of_arg(struct aml *a, unsigned n, uint8_t offset, const char *name)
{
	aml_byte(a, OP_CREATE_DWORD);
	aml_arg(a, n);
	aml_int(a, offset);
	aml_path(a, name);
}

void aml_uuid(struct aml *a, const char *uuid)
{
	/* position in the text of each byte's two digits */
	static const uint8_t at[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
	uint8_t b[16];

	for (unsigned i = 0; i < 16; i++)
		b[i] = (uint8_t)(hex(uuid[at[i]]) << 4 | hex(uuid[at[i] + 1]));
	aml_buffer(a, b, sizeof(b));
}

/* --- resource descriptors ------------------------------------------------------------------------
 */

enum { RES_MEMORY, RES_IO, RES_BUS };
enum { FIXED = 0x0c, PRODUCER = 0, CONSUMER = 1 }; /* general flags: min and max fixed */
enum { MEM_WRITABLE = 1, IO_ENTIRE_RANGE = 3 };

void res_io(struct aml *r, uint16_t port, uint8_t len)
{
	aml_byte(r, 0x47);
	aml_byte(r, 1); /* decodes 16 bits */
	aml_word(r, port);
	aml_word(r, port);
	aml_byte(r, 1);
	aml_byte(r, len);
}

void res_irq(struct aml *r, unsigned irq)
{
	aml_byte(r, 0x22);
	aml_word(r, (uint16_t)(1u << irq));
}

static void address_word(struct aml *r, uint8_t type, uint8_t type_flags, uint16_t first,
			 uint16_t last)
{
	aml_byte(r, 0x88);
	aml_word(r, 13);
	aml_byte(r, type);
	aml_byte(r, FIXED | PRODUCER);
	aml_byte(r, type_flags);
	aml_word(r, 0);
	aml_word(r, first);
	aml_word(r, last);
	aml_word(r, 0);
	aml_word(r, (uint16_t)(last - first + 1));
}

void res_bus_range(struct aml *r, uint16_t first, uint16_t last)
{
	address_word(r, RES_BUS, 0, first, last);
}

void res_io_window(struct aml *r, uint16_t first, uint16_t last)
{
	address_word(r, RES_IO, IO_ENTIRE_RANGE, first, last);
}

void res_mem32_window(struct aml *r, uint32_t base, uint32_t size)
{
	aml_byte(r, 0x87);
	aml_word(r, 23);
	aml_byte(r, RES_MEMORY);
	aml_byte(r, FIXED | PRODUCER);
	aml_byte(r, MEM_WRITABLE);
	aml_dword(r, 0);
	aml_dword(r, base);
	aml_dword(r, base + (size - 1));
	aml_dword(r, 0);
	aml_dword(r, size);
}

static void address_qword(struct aml *r, uint8_t flags, uint64_t base, uint64_t size)
{
	aml_byte(r, 0x8a);
	aml_word(r, 43);
	aml_byte(r, RES_MEMORY);
	aml_byte(r, FIXED | flags);
	aml_byte(r, MEM_WRITABLE);
	aml_qword(r, 0);
	aml_qword(r, base);
	aml_qword(r, base + (size - 1));
	aml_qword(r, 0);
	aml_qword(r, size);
}

void res_mem64_window(struct aml *r, uint64_t base, uint64_t size)
{
	address_qword(r, PRODUCER, base, size);
}

void res_mem64_fixed(struct aml *r, uint64_t base, uint64_t size)
{
	address_qword(r, CONSUMER, base, size);
}

void aml_crs(struct aml *a, struct aml *r)
{
	aml_byte(r, 0x79); /* end tag; checksum 0: none */
	aml_byte(r, 0);
	aml_name(a, "_CRS");
	aml_buffer(a, r->buf, r->len);
	a->failed |= r->failed;
	aml_fini(r);
}
