/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.c - fetching, decoding and keeping blocks.
 *
 * Blocks are carved from one arena and found through a hash table; when the arena
 * is full everything is dropped.  Guest memory is copied first and the copy decoded,
 * since other vCPUs may write to it meanwhile.  An instruction that needs bytes of
 * a second page, or that ends beyond the segment's limit, is fetched by itself.
 */
#include "cpu/interp/block.h"

#include <errno.h>
#include <sys/mman.h>

#include "cpu/x86/mmu.h"

/* --- storage ---------------------------------------------------------------- */

static void *map_lazily(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* "single" matches no key, so it can stand for "none". */
static void forget_successors(struct block_cache *bc, struct block *b)
{
	b->succ[0] = b->succ[1] = bc->single;
}

enum { ARENA_PER_SLOT = 512 };

static size_t table_bytes(const struct block_cache *bc)
{
	return (bc->mask + 1) * sizeof(bc->table[0]);
}

int block_cache_new(size_t bytes, struct block_cache **out)
{
	struct block_cache *bc = calloc(1, sizeof(*bc));

	if (!bc)
		return -ENOMEM;
	bc->bytes = bytes;
	bc->mask = bytes / ARENA_PER_SLOT - 1;
	bc->table = map_lazily(table_bytes(bc));
	bc->arena = map_lazily(bytes);
	bc->single = calloc(1, sizeof(struct block) + sizeof(struct insn));
	if (!bc->table || !bc->arena || !bc->single) {
		block_cache_free(bc);
		return -ENOMEM;
	}
	forget_successors(bc, bc->single);
	bc->single->key = BLOCK_NOWHERE;
	bc->single->n = 1;
	*out = bc;
	return 0;
}

void block_cache_free(struct block_cache *bc)
{
	if (!bc)
		return;
	if (bc->table)
		munmap(bc->table, table_bytes(bc));
	if (bc->arena)
		munmap(bc->arena, bc->bytes);
	free(bc->single);
	free(bc);
}

void block_cache_flush(struct block_cache *bc)
{
	memset(bc->table, 0, table_bytes(bc));
	bc->used = 0;
	forget_successors(bc, bc->single);
}

static size_t block_size(unsigned n)
{
	return sizeof(struct block) + n * sizeof(struct insn);
}

static struct block *block_alloc(struct block_cache *bc, size_t need)
{
	struct block *b;

	need = ALIGN_UP(need, 64);
	if (need > bc->bytes - bc->used)
		block_cache_flush(bc);
	b = (struct block *)(bc->arena + bc->used);
	bc->used += need;
	b->alloc_bytes = (uint32_t)need;
	return b;
}

static void block_store(struct block *b, const struct insn *insns, unsigned n, const uint8_t *code,
			unsigned nbytes)
{
	b->n = (uint16_t)n;
	b->nbytes = (uint16_t)nbytes;
	memcpy(b->insns, insns, n * sizeof(*insns));
	memcpy(b->code, code, nbytes);
}

/* --- decoding --------------------------------------------------------------- */

static void fn_undefined(struct vcpu *c, const struct insn *i)
{
	raise_ud(c);
}

static void fn_too_long(struct vcpu *c, const struct insn *i)
{
	raise_gp(c, 0);
}

/* Does a processor of @m know @i, if need be as what it was before the feature? */
static bool is_known(const struct cpu_model *m, struct insn *i)
{
	return i->feature == FEAT_BASE || (i->feature < FEAT_COUNT && cpu_has(m, i->feature)) ||
	       x86_without_feature(i);
}

void block_bind(struct insn *i)
{
	if (!i->fn)
		i->fn = bind_int(i);
	if (!i->fn)
		i->fn = bind_string(i);
	if (!i->fn)
		i->fn = bind_sys(i);
	if (!i->fn)
		i->fn = bind_fpu(i);
	if (!i->fn)
		i->fn = fn_undefined;
}

static bool is_repeated(const struct insn *i)
{
	return i->form == FORM_STR && i->flags & (INSN_REP | INSN_REPNE);
}

bool block_is_undefined(const struct insn *i)
{
	return i->fn == fn_undefined || i->fn == fn_too_long;
}

bool block_ends(const struct insn *i)
{
	if (i->flags & (INSN_BRANCH | INSN_ENDS) || is_repeated(i))
		return true;
	switch (i->op) {
	case OP_STI: /* interrupt shadows */
	case OP_LSS: return true;
	case OP_MOV_S_R:
	case OP_POP_S: return i->reg == SEG_SS;
	default: return false;
	}
}

int block_decode(struct vcpu *c, const uint8_t *code, size_t avail, struct insn *i)
{
	int len = x86_decode(code, avail, c->mode, i);

	if (len == X86_TRUNCATED)
		return len;
	c->decoded++;
	if (len > 0) {
		i->fn = is_known(c->model, i) ? NULL : fn_undefined;
		return len;
	}
	memset(i, 0, sizeof(*i));
	i->fn = len == X86_TOO_LONG ? fn_too_long : fn_undefined;
	i->flags = INSN_ENDS;
	i->len = (uint8_t)MIN(avail, (size_t)INSN_MAX_LEN);
	return i->len;
}

static int decode_one(struct vcpu *c, const uint8_t *code, size_t avail, struct insn *i)
{
	int len = block_decode(c, code, avail, i);

	if (len > 0)
		block_bind(i);
	return len;
}

/* Decode up to a block of @avail bytes at @code; 0: the first instruction needs more. */
static unsigned decode_run(struct vcpu *c, const uint8_t *code, unsigned avail,
			   struct insn insns[BLOCK_MAX_INSNS], unsigned *nbytes)
{
	unsigned n = 0, at = 0;

	while (n < BLOCK_MAX_INSNS && at < avail) {
		int len = decode_one(c, code + at, avail - at, &insns[n]);

		/* a faulting one starts a block of its own: the bytes it takes may overlap code */
		if (len < 0 || (n && (insns[n].op == OP_INVALID)))
			break;
		at += (unsigned)len;
		if (block_ends(&insns[n++]))
			break;
	}
	*nbytes = at;
	return n;
}

/* --- look-up ---------------------------------------------------------------- */

/* Chains are short unless the guest picks its addresses so; then blocks are made anew. */
enum { CHAIN_MAX = 32 };

static struct block *find_block(struct block_cache *bc, uint64_t key)
{
	struct block **head = block_slot(bc, key), **p = head;

	for (unsigned n = 0; *p && n < CHAIN_MAX; n++, p = &(*p)->next) {
		struct block *b = *p;

		if (b->key != key)
			continue;
		*p = b->next; /* to the front, where the fast path looks */
		b->next = *head;
		*head = b;
		return b;
	}
	return NULL;
}

static struct block *make_block(struct vcpu *c, uint64_t key, struct block *old, const uint8_t *hva,
				unsigned avail)
{
	struct block_cache *bc = c->blocks;
	struct insn insns[BLOCK_MAX_INSNS];
	uint8_t code[BLOCK_MAX_BYTES];
	unsigned n, nbytes;
	struct block *b = old, **head;

	avail = MIN(avail, BLOCK_MAX_BYTES);
	memcpy(code, hva, avail);
	n = decode_run(c, code, avail, insns, &nbytes);
	if (!n)
		return NULL;
	if (b && block_size(n) > b->alloc_bytes) {
		b->key = BLOCK_NOWHERE;
		b = NULL;
	}
	if (!b) {
		b = block_alloc(bc, block_size(n));
		head = block_slot(bc, key);
		b->key = key;
		forget_successors(bc, b);
		b->next = *head;
		*head = b;
	}
	block_store(b, insns, n, code, nbytes);
	b->rep_last = is_repeated(&insns[n - 1]);
	return b;
}

/* Host address of the code at @lin; NULL: no RAM there. */
static uint8_t *fetch_page(struct vcpu *c, gva_t lin)
{
	struct tlb_entry *e = &c->tlb_all[c->view][lin >> 12 & (TLB_SIZE - 1)];
	gpa_t gpa;

	if (c->tlb_exec[c->view][lin >> 12 & (TLB_SIZE - 1)] != (lin & ~0xfffULL))
		e = mmu_fill(c, lin, ACCESS_EXEC, &gpa);
	return e ? (uint8_t *)(e->addend + lin) : NULL;
}

/* The instruction at @lin has more than the @first bytes that are at @hva. */
static struct block *fetch_straddling(struct vcpu *c, gva_t lin, const uint8_t *hva, unsigned first,
				      unsigned limit)
{
	struct block_cache *bc = c->blocks;
	uint8_t code[INSN_MAX_LEN], *next;
	unsigned second;

	if (first >= MIN(INSN_MAX_LEN, limit))
		raise_gp(c, 0);
	second = MIN(INSN_MAX_LEN, limit) - first;
	memset(code, 0xff, sizeof(code)); /* an empty bus */
	memcpy(code, hva, first);
	next = fetch_page(c, (lin + first) & c->addr_mask);
	if (next)
		memcpy(code + first, next, second);
	if (decode_one(c, code, first + second, &bc->single->insns[0]) < 0)
		raise_gp(c, 0);
	bc->single->rep_last = is_repeated(&bc->single->insns[0]);
	return bc->single;
}

struct block *block_fetch(struct vcpu *c)
{
	uint64_t rip = c->s.rip & c->addr_mask;
	gva_t lin = (rip + c->s.seg[SEG_CS].base) & c->addr_mask;
	unsigned page_left = MEM_PAGE_SIZE - (unsigned)(lin & 0xfff), limit = MEM_PAGE_SIZE;
	struct block *b, *old;
	uint64_t key;
	uint8_t *hva;

	c->run_start = c->cur = NULL;
	c->insn_rip = c->s.rip = rip;
	c->last_seg = SEG_CS;
	if (c->mode != MODE_64) {
		if (rip > c->s.seg[SEG_CS].limit)
			raise_gp(c, 0);
		limit = (unsigned)MIN(limit, c->s.seg[SEG_CS].limit - rip + 1);
	}
	hva = fetch_page(c, lin);
	if (!hva)
		raise_ud(c);
	c->code_page = (uintptr_t)hva & ~0xfffULL;
	key = block_key((uintptr_t)hva, c->mode);
	old = find_block(c->blocks, key);
	if (old && old->nbytes <= MIN(page_left, limit) && block_same(old, hva))
		return old;
	b = make_block(c, key, old, hva, MIN(page_left, limit));
	return b ? b : fetch_straddling(c, lin, hva, MIN(page_left, limit), limit);
}
