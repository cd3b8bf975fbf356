/* SPDX-License-Identifier: Apache-2.0 */
/* blocks_report.c - a case as text: disassembly and registers. */
#include <Zydis/Zydis.h>
#include <string.h>
#include "cpu/tests/blocks.h"

static const uint8_t *bytes_at(const struct blk_case *c, uint32_t off)
{
	return off >= BLK_SUBS ? c->subs[0] + (off - BLK_SUBS) : c->code + (off - BLK_CODE);
}

static bool is_nops(const uint8_t *p, unsigned len)
{
	while (len && *p == 0x90)
		p++, len--;
	return !len;
}

static void print_item(const struct blk_case *c, const struct blk_item *item)
{
	const uint8_t *p = bytes_at(c, item->at);
	uint64_t lin = blk_base(c) + item->at;
	ZydisDisassembledInstruction z;

	if (is_nops(p, item->len))
		return;
	printf("  %016lx ", (unsigned long)lin);
	for (unsigned n = 0; n < INSN_MAX_LEN; n++)
		printf(n < item->len ? "%02x" : "  ", n < item->len ? p[n] : 0);
	if (ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, lin, p, item->len, &z)))
		printf(" %s\n", z.text);
	else
		printf(" (bad)\n");
}

static void print_input(const struct blk_case *c, const struct blk_input *in, unsigned run)
{
	struct cpu_state s;
	char text[2048];

	blk_start_state(c, in, &s);
	cpu_state_print(&s, text, sizeof(text));
	printf("run %u%s, traps that come back: %u\n%s", run,
	       in->restart ? ", restarted by the guest" : "", in->budget, text);
}

void blk_print_case(const struct blk_case *c)
{
	printf("CPL %d%s%s%s%s%s%s%s%s, start %#lx\n", c->user ? 3 : 0,
	       c->irq ? ", interrupt pending" : "", c->ts ? ", CR0.TS" : "",
	       c->wp ? "" : ", no CR0.WP", c->smap ? ", SMAP" : "", c->am ? ", CR0.AM" : "",
	       c->pge ? ", CR4.PGE" : "", c->pcid ? ", CR4.PCIDE" : "",
	       c->dr7 ? ", breakpoints" : "", (unsigned long)(blk_base(c) + c->start));
	for (unsigned n = 0; n < c->nitems; n++)
		print_item(c, &c->item[n]);
	for (unsigned n = 0; n < c->nruns; n++)
		print_input(c, &c->in[n], n);
}
