/* SPDX-License-Identifier: Apache-2.0 */
/*
 * look.c - see look.h: where dumps and perf's map go.
 *
 * A block's text is made in memory and written with one call, so that blocks do not mix
 * with other output and nothing is lost when the process dies.  A guest can make code
 * without end, so there is a bound, and a word about it when it is reached.
 *
 * perf's map has a line "START SIZE name" a block (Linux, tools/perf/Documentation/
 * jit-interface.txt).  Lines are only ever added: where a part of the cache was evicted, an
 * address has several, and which one perf takes for it is not defined.
 */
#include "cpu/dbt/look.h"

#include <errno.h>
#include <time.h>

#include "base/log.h"

enum { PERF_MAP_MAX = 256 << 20 };

static int write_all(int fd, const char *p, size_t len)
{
	static const struct timespec ms = {.tv_nsec = 1000000};

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EAGAIN) /* a terminal or pipe that others made so */
			nanosleep(&ms, NULL);
		else if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* @done of @max bytes were written.  False: that was all there will be. */
static bool put(int fd, const char *what, const char *text, size_t len, uint64_t *done,
		uint64_t max)
{
	if (*done + len > max) {
		log_warn("%s: %llu bytes are written; what is translated from now on is left out",
			 what, (unsigned long long)*done);
		return false;
	}
	*done += len;
	if (write_all(fd, text, len) < 0) {
		log_warn("%s: %m; what is translated from now on is left out", what);
		return false;
	}
	return true;
}

/* --- dumps ------------------------------------------------------------------------ */

static bool wanted(const struct engine_look *k, const struct dbt_block *b)
{
	return k->dump && b->rip <= k->last && b->rip + b->bytes > k->first;
}

/* The guest's bytes of @b, over two pages where its instruction is. */
static size_t copy_code(const struct dbt_block *b, const struct code_at *at, uint8_t *code)
{
	size_t off = b->rip & 0xfff, first = MIN((size_t)b->bytes, MEM_PAGE_SIZE - off);

	memcpy(code, at->page.host + off, first);
	if (first < b->bytes && at->next.host)
		memcpy(code + first, at->next.host, b->bytes - first);
	return b->bytes;
}

static void dump_head(FILE *f, const struct vcpu *c, const struct dbt_block *b)
{
	uint8_t key = c->d.key;

	fprintf(f, "block %016llx %s%s%s%s%s, code page %u, vCPU %u: ", (unsigned long long)b->rip,
		key & DBT_KEY_USER ? "user" : "supervisor", key & DBT_KEY_SSE ? "" : ", no SSE",
		key & DBT_KEY_AVX ? "" : ", no AVX", key & DBT_KEY_X87 ? "" : ", no x87",
		b->plain ? ", plain" : "", b->xid, c->index);
	fprintf(f, "%u instructions, %u bytes to %u", b->ninsns, b->bytes, b->end - b->start);
}

static void dump(FILE *f, const struct lowering *l, const struct code_at *at)
{
	uint8_t code[DBT_MAX_INSNS * INSN_MAX_LEN];
	unsigned what = l->d->look.dump;
	size_t len = copy_code(l->b, at, code);

	dump_head(f, l->c, l->b);
	fputc('\n', f);
	if (what & ENGINE_DUMP_OPS)
		dump_ops(f, l->b->rip, code, len);
	if (what & ENGINE_DUMP_IR)
		dump_ir(f, l);
	if (what & ENGINE_DUMP_ASM)
		dump_asm(f, l->d, l->b, l, code);
	fputc('\n', f);
}

struct text { /* a block's, on its way out */
	FILE *f;
	char *p;
	size_t len;
};

static bool text_start(struct text *t)
{
	*t = (struct text){0};
	t->f = open_memstream(&t->p, &t->len);
	return t->f;
}

static void text_end(struct dbt *d, struct text *t)
{
	if (!fclose(t->f) &&
	    !put(d->look.dump_fd, "dump", t->p, t->len, &d->dumped, d->look.dump_max))
		d->look.dump = 0;
	free(t->p);
}

/* --- perf's map ---------------------------------------------------------------------- */

static void put_symbol(struct dbt *d, uint32_t from, uint32_t to, const char *name)
{
	char line[96];
	int n = snprintf(line, sizeof(line), "%llx %x %s\n",
			 (unsigned long long)(uintptr_t)(d->rx + from), to - from, name);

	if (!put(d->look.perf_fd, "perf map", line, (size_t)n, &d->mapped, PERF_MAP_MAX))
		d->look.perf_map = false;
}

void dbt_look_glue(struct dbt *d)
{
	if (d->look.perf_map)
		put_symbol(d, 0, DBT_GLUE_BYTES, "caisson_translator_glue");
}

static void put_block_symbol(struct dbt *d, const struct dbt_block *b, uint8_t key)
{
	char name[48];

	snprintf(name, sizeof(name), "guest_0x%llx_%c", (unsigned long long)b->rip,
		 key & DBT_KEY_USER ? 'u' : 'k');
	put_symbol(d, b->start, b->end, name);
}

void dbt_look(struct lowering *l, const struct code_at *at)
{
	struct dbt *d = l->d;
	struct text t;

	if (wanted(&d->look, l->b) && text_start(&t)) {
		dump(t.f, l, at);
		text_end(d, &t);
	}
	if (d->look.perf_map)
		put_block_symbol(d, l->b, l->c->d.key);
}

void dbt_look_copy(struct dbt *d, const struct vcpu *c, const struct dbt_block *b,
		   const struct dbt_block *from, const struct code_at *at)
{
	uint8_t code[DBT_MAX_INSNS * INSN_MAX_LEN];
	struct text t;

	if (wanted(&d->look, b) && text_start(&t)) {
		dump_head(t.f, c, b);
		fprintf(t.f, ", copied from %016llx\n", (unsigned long long)from->rip);
		if (d->look.dump & ENGINE_DUMP_OPS)
			dump_ops(t.f, b->rip, code, copy_code(b, at, code));
		if (d->look.dump & ENGINE_DUMP_ASM)
			dump_asm(t.f, d, b, NULL, NULL);
		fputc('\n', t.f);
		text_end(d, &t);
	}
	if (d->look.perf_map)
		put_block_symbol(d, b, c->d.key);
}
