/* SPDX-License-Identifier: Apache-2.0 */
/* vvictim.c - see vvictim.h. */
#include "vvictim.h"

#include <string.h>

enum { MAX_OPS = 400, AREA = 0x10000, AREA_SIZE = 0x10000, DISK = 1 << 18, MAX_SEGS = 8 };

struct script {
	const uint8_t *p;
	size_t left;
};

static uint64_t take(struct script *s, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && s->left; i++, s->left--)
		v |= (uint64_t)*s->p++ << (i * 8);
	return v;
}

/* --- the victims -------------------------------------------------------------------- */

const char *victim_name(enum victim_kind kind)
{
	static const char *const name[] = {"blk", "net", "rng", "console"};

	return name[kind];
}

static int add_device(struct victim *v)
{
	struct pci_host *host = (struct pci_host *)v->b.host;
	struct loop *loop = vboard_loop(&v->b);
	struct virtio_blk_config blk = {host, loop, &v->disk.block, "victim", 2};
	struct virtio_net_config net = {host, loop, &v->wire.net, {0x52, 0x54, 0, 0, 0, 1}, 2};
	struct virtio_rng_config rng = {host, loop};
	struct virtio_console_config console = {host, loop, NULL};
	const struct {
		const struct dev_ops *ops;
		const void *cfg;
	} what[] = {{&virtio_blk_ops, &blk},
		    {&virtio_net_ops, &net},
		    {&virtio_rng_ops, &rng},
		    {&virtio_console_ops, &console}};

	return vboard_add(&v->b, what[v->kind].ops, what[v->kind].cfg, &v->dev);
}

int victim_init(struct victim *v, enum victim_kind kind)
{
	int ret;

	memset(v, 0, sizeof(*v));
	v->kind = kind;
	ret = vboard_init(&v->b, false);
	if (!ret)
		ret = memdisk_init(&v->disk, vboard_loop(&v->b), DISK);
	if (!ret)
		ret = memwire_init(&v->wire, vboard_loop(&v->b), NET_CSUM | NET_TSO4 | NET_TSO6, 2);
	if (!ret)
		ret = add_device(v);
	v->d.next_gpa = AREA;
	return ret || vdrv_probe(&v->d, &v->b, 1) ? ret : -1;
}

void victim_fini(struct victim *v)
{
	dev_free(v->dev);
	memdisk_fini(&v->disk);
	memwire_fini(&v->wire);
	vboard_fini(&v->b);
}

/* --- operations ------------------------------------------------------------------------ */

static void bar_access(struct victim *v, struct script *s, bool write)
{
	uint64_t addr = (v->d.common & ~0x7fffULL) + (take(s, 2) & 0x7fff);
	unsigned size = 1u << (take(s, 1) & 3);

	if (write)
		bus_write(v->b.env.mmio, addr, take(s, size), size);
	else
		bus_read(v->b.env.mmio, addr, size);
}

static void common_write(struct victim *v, struct script *s)
{
	unsigned reg = take(s, 1) & 0x3f, size = 1u << (take(s, 1) & 3);

	vdrv_write(&v->d, reg, take(s, size), size);
}

static void cfg_access(struct victim *v, struct script *s, bool write)
{
	unsigned off = take(s, 1), slot = take(s, 1) & 3, size = 1u << (slot % 3);
	uint64_t port = 0x80000000 | (slot & 1) << 11 | (off & 0xfc);

	off &= 0xff & ~(size - 1);
	if (write && slot & 2)
		vcfg_write(&v->b, slot & 1, off, (uint32_t)take(s, size), size);
	else if (!(slot & 2))
		vcfg_read(&v->b, slot & 1, off, size);
	bus_write(v->b.env.pio, 0xcf8, port, 4);
	if (write)
		bus_write(v->b.env.pio, 0xcfc + (off & 3), take(s, size), size);
	else
		bus_read(v->b.env.pio, 0xcfc + (off & 3), size);
}

static void ram_write(struct victim *v, struct script *s)
{
	uint64_t at = AREA + take(s, 2) % (AREA_SIZE - 16);
	unsigned n = 1 + (take(s, 1) & 15);

	for (unsigned i = 0; i < n; i++)
		*vboard_ram(&v->b, at + i) = (uint8_t)take(s, 1);
}

/* A driver that knows how: most of the device is behind a working queue. */
static void start(struct victim *v, struct script *s)
{
	uint64_t features = take(s, 1) & 1 ? ~0ULL : VIRTIO_F_VERSION_1 | take(s, 4);
	static const unsigned nqueues[] = {2, 5, 1, 2};

	v->d.next_gpa = AREA;
	vdrv_start(&v->d, features, nqueues[v->kind], 16);
}

static void add_chain(struct victim *v, struct script *s)
{
	unsigned how = (unsigned)take(s, 1), n = 1 + (how & (MAX_SEGS - 1)), q = how >> 3 & 3;
	struct vseg seg[MAX_SEGS];

	if (!v->d.q[q].size)
		return;
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = take(s, 2), kind = take(s, 1);

		seg[i].gpa = kind & 0x40 ? VB_RAM - 64 + (at & 127) : AREA + 0x8000 + (at & 0x7fff);
		seg[i].len = kind & 0x20 ? (uint32_t)take(s, 2) : (uint32_t)(kind & 31);
		seg[i].in = kind & 0x80;
	}
	v->d.q[q].indirect = how & 0x80 ? AREA + 0x7000 : 0;
	vdrv_add(&v->d, q, seg, n);
}

/* A request with a sound header, where there are such. */
static void add_request(struct victim *v, struct script *s)
{
	uint32_t h[4] = {(uint32_t)take(s, 1) & 15, 0, (uint32_t)take(s, 1), 0};
	unsigned q = take(s, 1) & 1;
	struct vseg seg[3] = {
		{AREA + 0x8000, 16, false},
		{AREA + 0x9000, (uint32_t)(take(s, 1) & 7) * 512, h[0] & 1 ? false : true},
		{AREA + 0x8020, 1, true}};

	if (!v->d.q[q].size)
		return;
	memcpy(vboard_ram(&v->b, AREA + 0x8000), h, sizeof(h));
	vdrv_add(&v->d, q, seg, 3);
}

static void outside(struct victim *v, struct script *s)
{
	uint8_t frame[2048];
	unsigned what = (unsigned)take(s, 1);

	if (v->kind == VICTIM_BLK) {
		__atomic_store_n(&v->disk.hold, what & 1, __ATOMIC_RELAXED);
		__atomic_store_n(&v->disk.fail, what & 2, __ATOMIC_RELAXED);
	} else if (v->kind == VICTIM_NET && what & 1) {
		memset(frame, (int)what, sizeof(frame));
		memwire_inject(&v->wire, what >> 7, frame, 14 + what * 7);
	} else if (v->kind == VICTIM_NET) {
		memwire_open(&v->wire);
	}
}

static void pause_or_reset(struct victim *v, struct script *s)
{
	switch (take(s, 1) & 7) {
	case 0: dev_reset(v->dev); break;
	case 1: dev_reset(v->b.host); break;
	case 2: vdrv_write(&v->d, VC_STATUS, 0, 1); break;
	default:
		v->dev->ops->pause(v->dev);
		v->dev->ops->resume(v->dev);
		break;
	}
}

static void step(struct victim *v, struct script *s, bool calm)
{
	switch (take(s, 1) % 13) {
	case 0: bar_access(v, s, true); break;
	case 1: bar_access(v, s, false); break;
	case 2: common_write(v, s); break;
	case 3: cfg_access(v, s, true); break;
	case 4: cfg_access(v, s, false); break;
	case 5: ram_write(v, s); break;
	case 6: start(v, s); break;
	case 7:
	case 8: add_chain(v, s); break;
	case 9: add_request(v, s); break;
	case 10: outside(v, s); break;
	case 11: pause_or_reset(v, s); break;
	default:
		vdrv_kick(&v->d, take(s, 1) & 7);
		if (calm)
			vboard_settle(&v->b);
		break;
	}
}

void victim_script(struct victim *v, const uint8_t *data, size_t len, bool calm)
{
	struct script s = {data, len};

	for (unsigned i = 0; i < MAX_OPS && s.left; i++)
		step(v, &s, calm);
	vboard_settle(&v->b);
}

/* --- the check ---------------------------------------------------------------------------- */

bool victim_works(struct victim *v)
{
	static const unsigned nqueues[] = {1, 2, 1, 2}, queue[] = {0, 1, 0, 1};
	uint32_t flush[4] = {4};
	struct vseg seg[2] = {{AREA + 0x8000, 64, v->kind == VICTIM_RNG}, {AREA + 0x9000, 1, true}};
	unsigned q = queue[v->kind];

	dev_reset(v->dev);
	dev_reset(v->b.host);
	__atomic_store_n(&v->disk.hold, false, __ATOMIC_RELAXED);
	v->d.next_gpa = AREA;
	if (!vdrv_probe(&v->d, &v->b, 1) ||
	    !vdrv_start(&v->d, VIRTIO_F_VERSION_1, nqueues[v->kind], 16))
		return false;
	memcpy(vboard_ram(&v->b, AREA + 0x8000), flush, sizeof(flush));
	vdrv_add(&v->d, q, seg, v->kind == VICTIM_BLK ? 2 : 1);
	vdrv_kick(&v->d, q);
	return vdrv_used(&v->d, q, NULL, NULL) &&
	       !(vdrv_read(&v->d, VC_STATUS, 1) & VS_NEEDS_RESET);
}
