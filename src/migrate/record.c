/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - see record.h.
 *
 * A section is a fixed header (magic, name, instance, version, length, CRC-32C of the
 * payload, CRC-32C of the header) and a payload.  The payload of a table is its fields
 * in order, each tagged with its name and shape, so that two builds that disagree
 * about a table find out by name instead of misreading each other.  A load first
 * checks the whole payload and writes to the object only when all of it fits.
 */
#include "migrate/record.h"

#include <errno.h>
#include <string.h>

#include "migrate/crc32c.h"

enum { SECTION_MAGIC = 0x43455343, NAME_MAX_LEN = 31, FIELD_NAME_MAX = 47 };

struct section { /* little-endian, as everything here */
	uint32_t magic, version, instance, payload_crc;
	uint64_t len;
	char name[NAME_MAX_LEN + 1];
	uint32_t zero, header_crc;
};

struct field_tag {
	char name[FIELD_NAME_MAX + 1];
	uint32_t kind, size, count; /* size: of one element */
};

void record_buf_fini(struct record_buf *b)
{
	free(b->data);
	*b = (struct record_buf){0};
}

/* --- writing -------------------------------------------------------------------------- */

static int append(struct record_buf *b, const void *data, size_t len)
{
	if (len > b->cap - b->len) {
		size_t cap = MAX(b->cap * 2, (size_t)65536);
		uint8_t *p;

		while (cap - b->len < len)
			cap *= 2;
		p = realloc(b->data, cap);
		if (!p)
			return -ENOMEM;
		b->data = p;
		b->cap = cap;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

static int save_fields(struct record_buf *b, const struct state_field *fields, const uint8_t *obj)
{
	int ret = 0;

	for (const struct state_field *f = fields; !ret && f->kind != STATE_END; f++) {
		struct field_tag tag = {.kind = f->kind, .size = f->size, .count = f->count};

		strncpy(tag.name, f->name, FIELD_NAME_MAX);
		if (f->kind == STATE_STRUCT)
			tag.size = 0; /* a build's padding is its own */
		ret = append(b, &tag, sizeof(tag));
		for (uint32_t i = 0; !ret && i < f->count; i++) {
			const uint8_t *p = obj + f->offset + (size_t)i * f->size;

			ret = f->kind == STATE_STRUCT ? save_fields(b, f->sub, p)
						      : append(b, p, f->size);
		}
	}
	return ret;
}

static void finish_section(struct record_buf *b, size_t at)
{
	struct section s;

	memcpy(&s, b->data + at, sizeof(s));
	s.len = b->len - at - sizeof(s);
	s.payload_crc = crc32c(0, b->data + at + sizeof(s), s.len);
	s.header_crc = crc32c(0, &s, offsetof(struct section, header_crc));
	memcpy(b->data + at, &s, sizeof(s));
}

static int begin_section(struct record_buf *b, const char *name, uint32_t instance,
			 uint32_t version)
{
	struct section s = {.magic = SECTION_MAGIC, .version = version, .instance = instance};

	strncpy(s.name, name, NAME_MAX_LEN);
	return append(b, &s, sizeof(s));
}

int record_save(struct record_buf *b, const struct state_desc *desc, uint32_t instance, void *obj)
{
	size_t at = b->len;
	int ret = begin_section(b, desc->name, instance, desc->version);

	if (!ret && desc->pre_save)
		desc->pre_save(obj);
	if (!ret)
		ret = save_fields(b, desc->fields, obj);
	if (!ret)
		finish_section(b, at);
	else
		b->len = at;
	return ret;
}

int record_save_bytes(struct record_buf *b, const char *name, uint32_t instance, uint32_t version,
		      const void *data, size_t len)
{
	size_t at = b->len;
	int ret = begin_section(b, name, instance, version);

	if (!ret)
		ret = append(b, data, len);
	if (!ret)
		finish_section(b, at);
	else
		b->len = at;
	return ret;
}

/* --- reading --------------------------------------------------------------------------- */

struct cursor {
	const uint8_t *p;
	size_t left;
};

static bool take(struct cursor *c, void *out, size_t len)
{
	if (len > c->left)
		return false;
	memcpy(out, c->p, len);
	c->p += len;
	c->left -= len;
	return true;
}

/* The next section's header, checked; its payload at c->p.  0: the end, -1: broken. */
static int next_section(struct cursor *c, struct section *s)
{
	if (!c->left)
		return 0;
	if (!take(c, s, sizeof(*s)) || s->magic != SECTION_MAGIC ||
	    s->header_crc != crc32c(0, s, offsetof(struct section, header_crc)) ||
	    s->len > c->left || s->name[NAME_MAX_LEN])
		return -1;
	return 1;
}

static int find(const uint8_t *data, size_t len, const char *name, uint32_t instance,
		struct section *s, struct cursor *payload, struct errbuf *err)
{
	struct cursor c = {data, len};
	int more;

	while ((more = next_section(&c, s)) > 0) {
		if (s->instance == instance && !strcmp(s->name, name)) {
			*payload = (struct cursor){c.p, s->len};
			if (crc32c(0, c.p, s->len) == s->payload_crc)
				return 0;
			return err_set(err, -EINVAL, "state '%s' %u: the checksum is wrong", name,
				       instance);
		}
		c.p += s->len;
		c.left -= s->len;
	}
	if (more < 0)
		return err_set(err, -EINVAL, "the state is damaged or truncated at byte %zu of %zu",
			       (size_t)(c.p - data), len);
	return err_set(err, -ENOENT, "the state has no section '%s' %u", name, instance);
}

/* The field's tag as this build would have written it, or a sentence. */
static int check_tag(struct cursor *c, const struct state_field *f, const char *section,
		     struct errbuf *err)
{
	uint32_t want = f->kind == STATE_STRUCT ? 0 : f->size;
	struct field_tag tag;

	if (!take(c, &tag, sizeof(tag)))
		return err_set(err, -EINVAL, "state '%s': field '%s' is missing", section, f->name);
	tag.name[FIELD_NAME_MAX] = 0;
	for (char *p = tag.name; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?'; /* it goes to a terminal */
	if (!strncmp(tag.name, f->name, FIELD_NAME_MAX) && tag.kind == f->kind &&
	    tag.size == want && tag.count == f->count)
		return 0;
	return err_set(
		err, -EINVAL,
		"state '%s': field '%s' where this build expects '%s'; the two sides must be "
		"the same version",
		section, tag.name, f->name);
}

static int check_bools(const uint8_t *p, const struct state_field *f, const char *section,
		       struct errbuf *err)
{
	for (uint32_t i = 0; i < f->size; i++)
		if (p[i] > 1)
			return err_set(err, -EINVAL, "state '%s': field '%s' is %u, not 0 or 1",
				       section, f->name, p[i]);
	return 0;
}

static int load_fields(struct cursor *c, const struct state_field *fields, uint8_t *obj,
		       const char *section, struct errbuf *err);

/* One element of @f, to @obj or, where that is NULL, just checked. */
static int load_element(struct cursor *c, const struct state_field *f, uint8_t *obj,
			const char *section, struct errbuf *err)
{
	if (f->kind == STATE_STRUCT)
		return load_fields(c, f->sub, obj, section, err);
	if (f->size > c->left)
		return err_set(err, -EINVAL, "state '%s': field '%s' is cut short", section,
			       f->name);
	if (f->kind == STATE_BOOL && check_bools(c->p, f, section, err) < 0)
		return -EINVAL;
	if (obj)
		memcpy(obj, c->p, f->size);
	c->p += f->size;
	c->left -= f->size;
	return 0;
}

static int load_fields(struct cursor *c, const struct state_field *fields, uint8_t *obj,
		       const char *section, struct errbuf *err)
{
	int ret = 0;

	for (const struct state_field *f = fields; !ret && f->kind != STATE_END; f++) {
		ret = check_tag(c, f, section, err);
		for (uint32_t i = 0; !ret && i < f->count; i++)
			ret = load_element(c, f, obj ? obj + f->offset + (size_t)i * f->size : NULL,
					   section, err);
	}
	return ret;
}

int record_load(const uint8_t *data, size_t len, const struct state_desc *desc, uint32_t instance,
		void *obj, struct errbuf *err)
{
	struct section s;
	struct cursor c, again;
	int ret = find(data, len, desc->name, instance, &s, &c, err);

	if (ret)
		return ret;
	if (s.version != desc->version)
		return err_set(err, -EINVAL,
			       "state '%s' is version %u, this side knows version %u; upgrade %s",
			       desc->name, s.version, desc->version,
			       s.version > desc->version ? "this side" : "the side that saved it");
	again = c;
	ret = load_fields(&c, desc->fields, NULL, desc->name, err);
	if (!ret && c.left)
		ret = err_set(err, -EINVAL, "state '%s': %zu bytes too many", desc->name, c.left);
	if (!ret)
		ret = load_fields(&again, desc->fields, obj, desc->name, err);
	if (!ret && desc->post_load)
		ret = desc->post_load(obj, err);
	return ret;
}

int record_find_bytes(const uint8_t *data, size_t len, const char *name, uint32_t instance,
		      const uint8_t **out, size_t *out_len, struct errbuf *err)
{
	struct section s;
	struct cursor c;
	int ret = find(data, len, name, instance, &s, &c, err);

	if (ret)
		return ret;
	*out = c.p;
	*out_len = c.left;
	return 0;
}
