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

static void dump(FILE *f, const struct lowering *l, const struct code_at *at)
{
	uint8_t code[DBT_MAX_INSNS * INSN_MAX_LEN];
	const struct dbt_block *b = l->b;
	const struct dbt *d = l->d;
	unsigned what = d->look.dump;
	size_t len = copy_code(b, at, code);

	fprintf(f, "block %016llx %s%s%s%s%s, code page %u, vCPU %u: ", (unsigned long long)b->rip,
		l->c->d.key & DBT_KEY_USER ? "user" : "supervisor", l->vec ? "" : ", no SSE",
		l->avx ? "" : ", no AVX", l->x87 ? "" : ", no x87", b->plain ? ", plain" : "",
		b->xid, l->c->index);
	fprintf(f, "%u instructions, %u bytes to %u\n", b->ninsns, b->bytes, b->end - b->start);
	if (what & ENGINE_DUMP_OPS)
		dump_ops(f, b->rip, code, len);
	if (what & ENGINE_DUMP_IR)
		dump_ir(f, l);
	if (what & ENGINE_DUMP_ASM)
		dump_asm(f, d, b, l, code);
	fputc('\n', f);
}

static void put_dump(struct lowering *l, const struct code_at *at)
{
	struct dbt *d = l->d;
	AUTO_PTR char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return;
	dump(f, l, at);
	if (!fclose(f) && !put(d->look.dump_fd, "dump", text, len, &d->dumped, d->look.dump_max))
		d->look.dump = 0;
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

void dbt_look_name(struct dbt *d, const struct dbt_block *b, uint8_t key)
{
	char name[48];

	if (likely(!d->look.perf_map))
		return;
	snprintf(name, sizeof(name), "guest_0x%llx_%c", (unsigned long long)b->rip,
		 key & DBT_KEY_USER ? 'u' : 'k');
	put_symbol(d, b->start, b->end, name);
}

void dbt_look(struct lowering *l, const struct code_at *at)
{
	struct dbt *d = l->d;
	const struct dbt_block *b = l->b;

	if (wanted(&d->look, b))
		put_dump(l, at);
	dbt_look_name(d, b, l->c->d.key);
}
