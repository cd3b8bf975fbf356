/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - declared, versioned state.
 *
 * Whatever must survive save and restore declares its fields in a table; nothing
 * is saved by code.  src/migrate/ turns a table and an object into a section of
 * the stream and back.  All fields are little-endian on the wire and fixed-size
 * in the struct (uint8_t .. uint64_t, bool, arrays and nested structs of them);
 * a nested object has a table of its own.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

enum state_kind {
	STATE_END = 0,
	STATE_INT,    /* size 1, 2, 4 or 8, count of them */
	STATE_BYTES,  /* size bytes as they are */
	STATE_STRUCT, /* count elements of size bytes, each saved by @sub */
	STATE_BOOL,   /* bools: anything but 0 and 1 is refused */
};

struct state_field {
	const char *name;
	enum state_kind kind;
	uint32_t offset, size, count;
	const struct state_field *sub;
};

#define STATE_MEMBER_SIZE(type, m) sizeof(((type *)0)->m)
/* A bool with another value is undefined behaviour, so no check after loading could find it. */
#define STATE_INT_KIND(type, m) \
	(__builtin_types_compatible_p(__typeof__(((type *)0)->m), bool) ? STATE_BOOL : STATE_INT)
/* One integer or bool, or an array of them (element size from the element's type). */
#define STATE_INT(type, m)                                                                     \
	{                                                                                      \
#m, STATE_INT_KIND(type, m), offsetof(type, m), STATE_MEMBER_SIZE(type, m), 1, \
			NULL                                                                   \
	}
#define STATE_ARRAY(type, m)                                                                      \
	{                                                                                         \
#m, STATE_INT_KIND(type, m[0]), offsetof(type, m), STATE_MEMBER_SIZE(type, m[0]), \
			STATE_MEMBER_SIZE(type, m) / STATE_MEMBER_SIZE(type, m[0]), NULL          \
	}
#define STATE_BYTES(type, m)                                                            \
	{                                                                               \
#m, STATE_BYTES, offsetof(type, m), STATE_MEMBER_SIZE(type, m), 1, NULL \
	}
#define STATE_STRUCT(type, m, table)                                                      \
	{                                                                                 \
#m, STATE_STRUCT, offsetof(type, m), STATE_MEMBER_SIZE(type, m), 1, table \
	}
#define STATE_STRUCTS(type, m, table)                                                     \
	{                                                                                 \
#m, STATE_STRUCT, offsetof(type, m), STATE_MEMBER_SIZE(type, m[0]),       \
			STATE_MEMBER_SIZE(type, m) / STATE_MEMBER_SIZE(type, m[0]), table \
	}
#define STATE_FIELDS_END                       \
	{                                      \
		NULL, STATE_END, 0, 0, 0, NULL \
	}

struct state_desc {
	const char *name; /* section name */
	uint32_t version;
	const struct state_field *fields;
	/* Before saving: bring derived fields up to date.  May be NULL. */
	void (*pre_save)(void *obj);
	/* After loading: a saved state is hostile; validate, then rebuild what is
	 * derived.  Returns 0 or -errno with a sentence.  May be NULL. */
	int (*post_load)(void *obj, struct errbuf *err);
};

/*
 * For post_load: a loaded bool's byte is hostile.  False, and *@b cleared, when it
 * is neither 0 nor 1.
 */
static inline bool state_bool_ok(bool *b)
{
	uint8_t *byte = (uint8_t *)b;

	if (*byte <= 1)
		return true;
	*byte = 0;
	return false;
}
