/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aml.h - assemble ACPI Machine Language (ACPI 6.4, chapter 20) into a buffer.
 *
 * Objects with a package length are opened by aml_begin_*(), which returns a mark,
 * and closed by aml_end() with that mark; they nest.  Running out of memory sets
 * ->failed, after which nothing more is written: check it once, at the end.
 */
#pragma once

#include "base/cleanup.h"

struct aml { /* owner: the caller */
	uint8_t *buf;
	size_t len, cap;
	bool failed;
};
void aml_fini(struct aml *a);

void aml_byte(struct aml *a, uint8_t val);
void aml_word(struct aml *a, uint16_t val);
void aml_dword(struct aml *a, uint32_t val);
void aml_qword(struct aml *a, uint64_t val);
void aml_bytes(struct aml *a, const void *data, size_t len);

/* A name like "\\_SB.PCI0"; segments shorter than four characters are padded with '_'. */
void aml_path(struct aml *a, const char *path);
void aml_int(struct aml *a, uint64_t val);
/* Compressed EISA ID: "PNP0501". */
void aml_eisa_id(struct aml *a, const char *id);

/* Name (@path, <the object written next>). */
void aml_name(struct aml *a, const char *path);
void aml_name_int(struct aml *a, const char *path, uint64_t val);

size_t aml_begin_scope(struct aml *a, const char *path);
size_t aml_begin_device(struct aml *a, const char *path);
size_t aml_begin_method(struct aml *a, const char *path, unsigned nargs);
size_t aml_begin_package(struct aml *a, uint8_t nelements);
size_t aml_begin_if(struct aml *a); /* the predicate follows */
size_t aml_begin_else(struct aml *a);
void aml_end(struct aml *a, size_t mark);

/* Buffer () { @data }. */
void aml_buffer(struct aml *a, const void *data, size_t len);

/* --- code ---------------------------------------------------------------------- */

void aml_arg(struct aml *a, unsigned n);   /* Arg0..Arg6 */
void aml_local(struct aml *a, unsigned n); /* Local0..Local7 */
void aml_store(struct aml *a);		   /* source, target follow */
void aml_and(struct aml *a);		   /* two operands, target follow */
void aml_or(struct aml *a);
void aml_equal(struct aml *a); /* two operands follow */
void aml_not_equal(struct aml *a);
void aml_return(struct aml *a); /* operand follows */
/* CreateDWordField (Arg@n, @offset, @name). */
void aml_dword_field_of_arg(struct aml *a, unsigned n, uint8_t offset, const char *name);
/* A UUID in the mixed byte order of ToUUID(), as a buffer. */
void aml_uuid(struct aml *a, const char *uuid);

/* --- resource descriptors (ACPI 6.4, 6.4), into a template ------------------------- */

void res_io(struct aml *r, uint16_t port, uint8_t len);
void res_irq(struct aml *r, unsigned irq); /* ISA: edge, active high */
void res_bus_range(struct aml *r, uint16_t first, uint16_t last);
void res_io_window(struct aml *r, uint16_t first, uint16_t last);
void res_mem32_window(struct aml *r, uint32_t base, uint32_t size);
void res_mem64_window(struct aml *r, uint64_t base, uint64_t size);
void res_mem64_fixed(struct aml *r, uint64_t base, uint64_t size);
/* Name (_CRS, Buffer {@r and the end tag}).  @r is emptied. */
void aml_crs(struct aml *a, struct aml *r);
