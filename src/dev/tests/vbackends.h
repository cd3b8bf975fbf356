/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vbackends.h - back ends for device tests: a disk in memory and a wire in memory.
 */
#pragma once

#include "block/block.h"
#include "net/net.h"

struct memdisk { /* loop's thread */
	struct block block;
	uint8_t *data;
	struct list pending;
	bool posted;
	bool hold; /* atomic: complete only in wait(); set by tests */
	bool fail; /* atomic: every request ends with -EIO */
	unsigned flushes, kicks, discards;
};

MUST_CHECK int memdisk_init(struct memdisk *m, struct loop *loop, uint64_t bytes);
void memdisk_fini(struct memdisk *m);

enum { WIRE_FRAMES = 64, WIRE_MAX = 70000 };

struct memwire { /* loop's thread; tests look after vboard_settle() */
	struct net net;
	unsigned nsent;
	struct {
		struct net_hdr hdr;
		unsigned queue;
		size_t len;
		uint8_t *data;
	} sent[WIRE_FRAMES];
	bool full; /* refuse to send */
	unsigned offloads, paused;
	/* a frame on its way in, until the card has taken it */
	unsigned in_queue;
	size_t in_len;
	bool in_taken;
	struct net_hdr in_hdr;
	uint8_t *in;
};

MUST_CHECK int memwire_init(struct memwire *w, struct loop *loop, unsigned features,
			    unsigned queues);
void memwire_fini(struct memwire *w);
/* Offer a frame to the card; if it has no room, again at each rx_ready().  Any thread. */
bool memwire_inject(struct memwire *w, unsigned queue, const void *data, size_t len);
/* Let the card send again.  Any thread. */
void memwire_open(struct memwire *w);
