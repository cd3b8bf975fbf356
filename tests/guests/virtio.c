/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio.c - a virtio block driver (virtio 1.2, 4.1 and 5.2): finds the device by ECAM,
 * moves its BARs, negotiates, and writes and reads sectors with MSI-X interrupts.
 *
 * Sectors 8 to 15 are written; the sums of what was on the disk before come out first.
 */
#include "guest.h"

enum { ECAM = 0xe0000000, BAR_HOME = 0xd0000000, VEC = 0x60, QSIZE = 8 };
enum { CAP_MSIX = 0x11, CAP_VENDOR = 9, CFG_COMMON = 1, CFG_NOTIFY = 2, CFG_DEVICE = 4 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum {
	C_DFSELECT = 0,
	C_DF = 4,
	C_GFSELECT = 8,
	C_GF = 12,
	C_MSIX = 16,
	C_STATUS = 20,
	C_QSELECT = 22,
	C_QSIZE = 24,
	C_QVECTOR = 26,
	C_QENABLE = 28,
	C_QNOTIFY = 30,
	C_QDESC = 32,
	C_QAVAIL = 40,
	C_QUSED = 48
};
enum { DESC_NEXT = 1, DESC_WRITE = 2, BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, F_FLUSH = 1 << 9 };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct desc desc[QSIZE] __attribute__((aligned(4096)));
static struct {
	uint16_t flags, idx, ring[QSIZE];
} avail __attribute__((aligned(4096)));
static volatile struct {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[QSIZE];
} used __attribute__((aligned(4096)));
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header[2];
static volatile uint8_t status[2];
static uint8_t data[2][4096] __attribute__((aligned(4096)));
static volatile unsigned ninterrupts;

static uint64_t cfg, common, notify, devcfg, msix_table;
static uint32_t notify_mult;
static uint64_t next_bar = BAR_HOME;

static inline uint8_t read8(uint64_t a)
{
	return *(volatile uint8_t *)a;
}
static inline uint16_t read16(uint64_t a)
{
	return *(volatile uint16_t *)a;
}
static inline void write8(uint64_t a, uint8_t v)
{
	*(volatile uint8_t *)a = v;
}
static inline void write16(uint64_t a, uint16_t v)
{
	*(volatile uint16_t *)a = v;
}

static void on_queue(struct frame *f)
{
	(void)f;
	ninterrupts++;
	apic_eoi();
}

static void find_device(void)
{
	for (uint64_t slot = 0; slot < 32 && !cfg; slot++)
		if (mmio_read32(ECAM + (slot << 15)) == 0x10421af4)
			cfg = ECAM + (slot << 15);
	check(cfg != 0, "there is a virtio block device");
}

/* Find the size of BAR @n, put it below 4 GiB, and return its new address. */
static uint64_t move_bar(unsigned n)
{
	uint64_t reg = cfg + 0x10 + n * 4;
	uint32_t flags = mmio_read32(reg) & 15, size;

	mmio_write32(reg, 0xffffffff);
	size = -(mmio_read32(reg) & ~15u);
	print_line("size of a BAR", size);
	check(size && !(size & (size - 1)), "a BAR's size is a power of two");
	next_bar = (next_bar + size - 1) & -(uint64_t)size;
	mmio_write32(reg, (uint32_t)next_bar | flags);
	if ((flags & 6) == 4)
		mmio_write32(reg + 4, 0);
	next_bar += size;
	return next_bar - size;
}

static void find_parts(void)
{
	uint64_t bar[6] = {0};
	uint32_t command = mmio_read32(cfg + 4) & 0xffff;

	mmio_write32(cfg + 4, command & ~7u); /* no decoding while BARs move */
	for (unsigned cap = read8(cfg + 0x34); cap; cap = read8(cfg + cap + 1)) {
		unsigned id = read8(cfg + cap), msix = id == CAP_MSIX;
		unsigned n = msix ? read8(cfg + cap + 4) & 7 : read8(cfg + cap + 4);
		uint32_t off = msix ? mmio_read32(cfg + cap + 4) & ~7u : mmio_read32(cfg + cap + 8);

		if (!msix && (id != CAP_VENDOR || read8(cfg + cap + 3) > CFG_DEVICE))
			continue;
		check(n < 6, "a capability names a BAR");
		if (!bar[n])
			bar[n] = move_bar(n);
		if (msix) {
			msix_table = bar[n] + off;
			write16(cfg + cap + 2, 0x8000); /* enable */
		} else if (read8(cfg + cap + 3) == CFG_COMMON) {
			common = bar[n] + off;
		} else if (read8(cfg + cap + 3) == CFG_NOTIFY) {
			notify = bar[n] + off;
			notify_mult = mmio_read32(cfg + cap + 16);
		} else if (read8(cfg + cap + 3) == CFG_DEVICE) {
			devcfg = bar[n] + off;
		}
	}
	mmio_write32(cfg + 4, command | 6); /* memory, bus master */
	check(common && notify && devcfg && msix_table, "all parts are found");
}

static void negotiate(void)
{
	uint32_t lo, hi;

	write8(common + C_STATUS, 0);
	while (read8(common + C_STATUS))
		;
	write8(common + C_STATUS, ACKNOWLEDGE | DRIVER);
	mmio_write32(common + C_DFSELECT, 0);
	lo = mmio_read32(common + C_DF);
	mmio_write32(common + C_DFSELECT, 1);
	hi = mmio_read32(common + C_DF);
	check((lo & F_FLUSH) && (hi & 1), "the device offers FLUSH and VERSION_1");
	mmio_write32(common + C_GFSELECT, 0);
	mmio_write32(common + C_GF, F_FLUSH);
	mmio_write32(common + C_GFSELECT, 1);
	mmio_write32(common + C_GF, 1);
	write8(common + C_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	check(read8(common + C_STATUS) & FEATURES_OK, "the device takes the features");
}

static void write64(uint64_t a, uint64_t v)
{
	mmio_write32(a, (uint32_t)v);
	mmio_write32(a + 4, (uint32_t)(v >> 32));
}

static void set_queue(void)
{
	idt_set(VEC, on_queue);
	write64(msix_table, APIC | (uint64_t)(apic_read(0x20) >> 24) << 12);
	mmio_write32(msix_table + 8, VEC);
	mmio_write32(msix_table + 12, 0);
	write16(common + C_MSIX, 0xffff);
	write16(common + C_QSELECT, 0);
	check(read16(common + C_QSIZE) >= QSIZE, "the queue has room");
	write16(common + C_QSIZE, QSIZE);
	write16(common + C_QVECTOR, 0);
	check(read16(common + C_QVECTOR) == 0, "the device takes the vector");
	write64(common + C_QDESC, (uint64_t)desc);
	write64(common + C_QAVAIL, (uint64_t)&avail);
	write64(common + C_QUSED, (uint64_t)&used);
	notify += (uint64_t)read16(common + C_QNOTIFY) * notify_mult;
	write16(common + C_QENABLE, 1);
	write8(common + C_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

/* Put request @slot into descriptors 4 * slot and on; nothing is told to the device. */
static void prepare(unsigned slot, uint32_t type, uint64_t sector, uint32_t len)
{
	struct desc *d = &desc[slot * 4];
	uint16_t first = (uint16_t)(slot * 4), last = (uint16_t)(first + (len ? 2 : 1));

	header[slot].type = type;
	header[slot].sector = sector;
	status[slot] = 0xff;
	d[0] = (struct desc){(uint64_t)&header[slot], 16, DESC_NEXT, (uint16_t)(first + 1)};
	if (len)
		d[1] = (struct desc){(uint64_t)data[slot], len,
				     DESC_NEXT | (type == BLK_IN ? DESC_WRITE : 0),
				     (uint16_t)(first + 2)};
	desc[last] = (struct desc){(uint64_t)&status[slot], 1, DESC_WRITE, 0};
	avail.ring[avail.idx % QSIZE] = first;
	__asm__ volatile("" ::: "memory");
	avail.idx++;
}

/* Ring the bell and sleep until everything is used and the interrupt of it has come. */
static void submit(void)
{
	unsigned before = ninterrupts;

	__asm__ volatile("mfence" ::: "memory");
	write16(notify, 0);
	while (used.idx != avail.idx || ninterrupts == before)
		wait_interrupt();
}

static uint64_t sum(const uint8_t *p, unsigned n)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (unsigned i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return h;
}

static void request(const char *what, uint32_t type, uint64_t sector, uint32_t len)
{
	prepare(0, type, sector, len);
	submit();
	print(what);
	print_line(": status", status[0]);
}

static void write_and_read(void)
{
	request("read before", BLK_IN, 0, 4096);
	print_line("sum", sum(data[0], 4096));
	for (unsigned i = 0; i < 4096; i++)
		data[0][i] = (uint8_t)(i * 7 + (i >> 8));
	print_line("written", sum(data[0], 4096));
	request("write", BLK_OUT, 8, 4096);
	request("flush", BLK_FLUSH, 0, 0);
	memset(data, 0, sizeof(data));
	prepare(0, BLK_IN, 8, 2048); /* two at once, one notification */
	prepare(1, BLK_IN, 12, 2048);
	submit();
	print_line("read back", sum(data[0], 2048));
	print_line("and", sum(data[1], 2048));
	check(!status[0] && !status[1], "both are read");
	for (unsigned i = 0; i < 2048; i++)
		check(data[0][i] == (uint8_t)(i * 7 + (i >> 8)), "what was written is read");
}

int main(void)
{
	uint64_t sectors;

	idt_init();
	apic_enable();
	find_device();
	find_parts();
	negotiate();
	set_queue();
	sectors = mmio_read32(devcfg) | (uint64_t)mmio_read32(devcfg + 4) << 32;
	print_line("sectors", sectors);
	write_and_read();
	for (unsigned i = 0; i < 32; i++)
		request("again", BLK_IN, i, 512);
	request("read beyond the end", BLK_IN, sectors, 512);
	request("unknown request", 99, 0, 0);
	write8(common + C_STATUS, 0);
	print_line("status after reset", read8(common + C_STATUS));
	print("virtio done\n");
	return 0;
}
