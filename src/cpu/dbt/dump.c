/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dump.c - a block for a person to read.
 */
#include "cpu/dbt/dbt.h"

static void hex(FILE *f, const char *what, const uint8_t *p, size_t n)
{
	fprintf(f, "%s:", what);
	for (size_t i = 0; i < n; i++)
		fprintf(f, " %02x", p[i]);
	fprintf(f, "\n");
}

void dbt_dump_block(struct vcpu *c, const struct dbt_block *b, FILE *f)
{
	unsigned slot = b->rip >> 12 & (TLB_SIZE - 1);

	if (c->tlb_exec[c->view][slot] == (b->rip & ~0xfffULL))
		hex(f, "guest", c->tlb_all[c->view][slot].host + (b->rip & 0xfff), b->bytes);
	hex(f, "host", c->dbt->rx + b->code, b->end - b->code);
}
