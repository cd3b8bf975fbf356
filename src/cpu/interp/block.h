/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - decoded blocks: what a vCPU runs from.
 *
 * A block is a straight run of instructions within one page, found by the host
 * address of its first byte and the mode.  It carries a copy of the bytes it was
 * decoded from, and every look-up compares them: stores by other vCPUs and by
 * devices need no protocol.  Owner: the vCPU's thread.
 */
#pragma once

#include "cpu/x86/access.h"

enum {
	BLOCK_MAX_INSNS = 32,
	BLOCK_MAX_BYTES = 64,
	BLOCK_HASH_SHIFT = 15,
	BLOCK_ARENA_BYTES = 16 << 20, /* a power of two */
	BLOCK_ARENA_SOFT = 256 << 10, /* beside a translator: little runs here then */
};

struct block {		       /* most look-ups need the first 64 bytes alone */
	uint64_t key;	       /* block_key(); BLOCK_NOWHERE: no one's */
	struct block *succ[2]; /* what ran after it lately */
	uint16_t nbytes, n;
	bool rep_last; /* ends in a repeated string instruction, which may stop half way */
	uint8_t pad[3];
	uint8_t code[BLOCK_MAX_BYTES]; /* nbytes, as they were decoded */
	struct block *next;	       /* in its hash bucket */
	uint32_t alloc_bytes;
	struct insn insns[];
};
#define BLOCK_NOWHERE (~0ULL)

/*
 * Successors shorten the way from block to block: the processor follows them while it
 * still works out the key that proves them right.  They point into the arena, so they
 * live and die with all its blocks.
 */
struct block_cache {
	struct block **table; /* @mask + 1 */
	size_t mask;
	uint8_t *arena;
	size_t used, bytes;
	struct block *single; /* one instruction, not cached: it straddles pages */
};

/* @bytes of address space for decoded instructions; host memory is used as they come. */
MUST_CHECK int block_cache_new(size_t bytes, struct block_cache **out);
void block_cache_free(struct block_cache *bc);
void block_cache_flush(struct block_cache *bc);

/*
 * Decode one instruction of @avail bytes.  Its length, or X86_TRUNCATED; what is no
 * instruction becomes one that raises and takes all the bytes looked at.
 */
int block_decode(struct vcpu *c, const uint8_t *code, size_t avail, struct insn *i);
/* Give it its handler. */
void block_bind(struct insn *i);
/* Must the run loop look around after @i? */
bool block_ends(const struct insn *i);
/* Does @i raise #UD whatever it says, because the model lacks it? */
bool block_is_undefined(const struct insn *i);

/* What is at s.rip, by every check of an instruction fetch.  Raises; may drop all blocks. */
struct block *block_fetch(struct vcpu *c);

static ALWAYS_INLINE uint64_t block_key(uint64_t hva, unsigned mode)
{
	return hva | (uint64_t)mode << 62;
}

static ALWAYS_INLINE struct block **block_slot(const struct block_cache *bc, uint64_t key)
{
	return &bc->table[(key ^ key >> BLOCK_HASH_SHIFT) & bc->mask];
}

typedef char bytes16 __attribute__((vector_size(16), aligned(1), may_alias));

/* Bit n: byte n of 32 is the same. */
static ALWAYS_INLINE uint64_t same32(const uint8_t *a, const uint8_t *b)
{
	const bytes16 *p = (const bytes16 *)a, *q = (const bytes16 *)b;

	return (uint32_t)__builtin_ia32_pmovmskb128(p[0] == q[0]) |
	       (uint32_t)__builtin_ia32_pmovmskb128(p[1] == q[1]) << 16;
}

/* Are the bytes at @code still what @b was decoded from?  No loop: lengths vary too much. */
static ALWAYS_INLINE bool block_same(const struct block *b, const uint8_t *code)
{
	uint64_t same;

	if (unlikely(((uintptr_t)code & 0xfff) > MEM_PAGE_SIZE - BLOCK_MAX_BYTES))
		return !memcmp(code, b->code, b->nbytes); /* more may be beyond RAM's end */
	same = same32(code, b->code);
	if (likely(b->nbytes <= 32))
		return !(~same & (BIT(b->nbytes) - 1));
	same |= same32(code + 32, b->code + 32) << 32;
	return !(~same << (64 - b->nbytes));
}

/* A cached block of @key, which ran after @prev before or does now; or NULL. */
static ALWAYS_INLINE struct block *block_follow(struct vcpu *c, struct block *prev, uint64_t key)
{
	struct block *b = prev->succ[0];

	if (likely(b->key == key))
		return b;
	b = prev->succ[1];
	if (likely(b->key == key))
		return b;
	b = *block_slot(c->blocks, key);
	if (unlikely(!b || b->key != key))
		return NULL;
	prev->succ[1] = prev->succ[0];
	prev->succ[0] = b;
	return b;
}

/* The block at s.rip, after @prev: a cached one, or else by block_fetch(). */
static ALWAYS_INLINE struct block *block_lookup(struct vcpu *c, struct block *prev)
{
	uint64_t rip = c->s.rip & c->addr_mask;
	gva_t lin = (rip + c->s.seg[SEG_CS].base) & c->addr_mask;
	const struct tlb_entry *e = &c->tlb_all[c->view][lin >> 12 & (TLB_SIZE - 1)];
	struct block *b;
	uint64_t hva;

	if (unlikely(c->tlb_exec[c->view][lin >> 12 & (TLB_SIZE - 1)] != (lin & ~0xfffULL)))
		return block_fetch(c);
	hva = e->addend + lin;
	b = block_follow(c, prev, block_key(hva, c->mode));
	if (unlikely(!b || !block_same(b, (const uint8_t *)hva)))
		return block_fetch(c);
	if (unlikely(c->mode != MODE_64 && rip + b->nbytes - 1 > c->s.seg[SEG_CS].limit))
		return block_fetch(c);
	c->code_page = hva & ~0xfffULL;
	return b;
}
