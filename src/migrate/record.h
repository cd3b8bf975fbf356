/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - state records: sections with name, instance, version, length, checksum.
 *
 * The one format of saved state and of the migration stream.  Tables
 * (base/state.h) say what is in a section.  Reading treats the bytes as hostile.
 */
#pragma once

#include "base/state.h"

struct record_buf { /* owner: its thread; grows as written */
	uint8_t *data;
	size_t len, cap;
};
void record_buf_fini(struct record_buf *b);

/* Append the section of @obj.  -ENOMEM. */
MUST_CHECK int record_save(struct record_buf *b, const struct state_desc *desc, uint32_t instance,
			   void *obj);
/* Append an opaque section (RAM pages and such). */
MUST_CHECK int record_save_bytes(struct record_buf *b, const char *name, uint32_t instance,
				 uint32_t version, const void *data, size_t len);

/*
 * Find section @desc->name / @instance in the stream and load it into @obj.
 * -ENOENT, -EINVAL (checksum, length, a version this build does not know: the
 * sentence says which side to upgrade), or what desc->post_load says.
 */
MUST_CHECK int record_load(const uint8_t *data, size_t len, const struct state_desc *desc,
			   uint32_t instance, void *obj, struct errbuf *err);
MUST_CHECK int record_find_bytes(const uint8_t *data, size_t len, const char *name,
				 uint32_t instance, const uint8_t **out, size_t *out_len,
				 struct errbuf *err);
