// SPDX-License-Identifier: Apache-2.0
/*
 * fw_cfg.c - a read-only cupboard of items for firmware, found by key or file name.
 *
 * A guest selects an item and reads it byte by byte from the data port, or has it
 * copied to its memory: the DMA register takes the address of a descriptor (all
 * big-endian) that says what to do.  Items are added before the guest runs and do
 * not change, so only the selected key and the position in it are state.  Reading
 * behind the end of an item gives zeros; by DMA at most FILL_MAX of them, so that a
 * guest cannot keep its processor's thread here.
 *
 * Source: the specification of the interface, "QEMU Firmware Configuration (fw_cfg)
 * Device".
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/thread.h"
#include "dev/devices.h"

enum { BAR_SELECT, BAR_DMA };
enum { KEY_SIGNATURE = 0, KEY_ID = 1, KEY_DIR = 0x19, KEY_FILE_FIRST = 0x20 };
enum { ID_TRADITIONAL = 1, ID_DMA = 2 };
enum {
	DMA_ERROR = 1,
	DMA_READ = 2,
	DMA_SKIP = 4,
	DMA_SELECT = 8,
	DMA_WRITE = 16,
};
enum { MAX_ITEMS = 128, NAME_LEN = 56, FILL_MAX = 1 << 20 };
#define ITEM_MAX      (1ULL << 31)	    /* sizes in the directory have 32 bits */
#define DMA_SIGNATURE 0x51454d5520434647ULL /* "QEMU CFG" */

struct item {
	uint16_t key;
	bool file;
	char name[NAME_LEN];
	uint8_t *data;
	size_t len;
};

struct fw_cfg { /* dev.lock; items only change before the guest runs */
	struct device dev;
	struct item item[MAX_ITEMS];
	unsigned nitems;
	uint16_t next_key;
	uint16_t selected;
	uint32_t offset;
	uint32_t dma_high; /* upper half of the descriptor's address */
};

struct dma_desc { /* in guest memory, big-endian */
	uint32_t control, length;
	uint64_t address;
} __attribute__((packed));

struct dir_entry {
	uint32_t size;
	uint16_t select, reserved;
	char name[NAME_LEN];
} __attribute__((packed));

/* --- items ---------------------------------------------------------------------- */

static struct item *find(struct fw_cfg *f, uint16_t key)
{
	for (unsigned i = 0; i < f->nitems; i++)
		if (f->item[i].key == key)
			return &f->item[i];
	return NULL;
}

static int put(struct fw_cfg *f, uint16_t key, const void *data, size_t len)
{
	struct item *it = find(f, key);
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		return -ENOMEM;
	if (!it && f->nitems == MAX_ITEMS) {
		free(copy);
		return -ENOSPC;
	}
	if (len)
		memcpy(copy, data, len);
	if (!it) {
		it = &f->item[f->nitems++];
		*it = (struct item){.key = key};
	}
	free(it->data);
	it->data = copy;
	it->len = len;
	return 0;
}

/* The directory: number of files, then an entry each. */
static int rebuild_dir(struct fw_cfg *f)
{
	AUTO_PTR uint8_t *dir = calloc(1, 4 + MAX_ITEMS * sizeof(struct dir_entry));
	uint32_t n = 0;

	if (!dir)
		return -ENOMEM;
	for (unsigned i = 0; i < f->nitems; i++) {
		const struct item *it = &f->item[i];
		struct dir_entry e = {htobe32((uint32_t)it->len), htobe16(it->key), 0, ""};

		if (!it->file)
			continue;
		memcpy(e.name, it->name, NAME_LEN);
		memcpy(dir + 4 + n++ * sizeof(e), &e, sizeof(e));
	}
	memcpy(dir, &(uint32_t){htobe32(n)}, 4);
	return put(f, KEY_DIR, dir, 4 + n * sizeof(struct dir_entry));
}

int fw_cfg_add(struct device *dev, const char *name, const void *data, size_t len)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);
	struct item *it;
	int ret;
	LOCK_SCOPE(&dev->lock);

	if (!*name || strlen(name) >= NAME_LEN || len > ITEM_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < f->nitems; i++)
		if (f->item[i].file && !strcmp(f->item[i].name, name))
			return -EEXIST;
	ret = put(f, f->next_key, data, len);
	if (ret)
		return ret;
	it = find(f, f->next_key++);
	it->file = true;
	strcpy(it->name, name);
	return rebuild_dir(f);
}

int fw_cfg_add_u64(struct device *dev, uint16_t key, uint64_t val)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);
	uint64_t le = htole64(val);
	LOCK_SCOPE(&dev->lock);

	if (key <= KEY_ID || key >= KEY_DIR)
		return -EINVAL;
	return put(f, key, &le, sizeof(le));
}

/* --- reading ------------------------------------------------------------------------ */

static void select_item(struct fw_cfg *f, uint16_t key)
{
	f->selected = key;
	f->offset = 0;
}

/* The bytes from the current position on. */
static const uint8_t *rest(struct fw_cfg *f, size_t *len)
{
	const struct item *it = find(f, f->selected);

	*len = it && f->offset < it->len ? it->len - f->offset : 0;
	return *len ? it->data + f->offset : NULL;
}

static void advance(struct fw_cfg *f, size_t n)
{
	f->offset = (uint32_t)MIN(f->offset + (uint64_t)n, (uint64_t)UINT32_MAX);
}

static uint8_t read_byte(struct fw_cfg *f)
{
	size_t len;
	const uint8_t *p = rest(f, &len);

	if (!len)
		return 0;
	advance(f, 1);
	return *p;
}

static int fill_zeros(struct mem *mem, gpa_t gpa, size_t len)
{
	static const uint8_t zeros[4096];
	int ret = 0;

	for (size_t n; !ret && len; len -= n, gpa += n) {
		n = MIN(len, sizeof(zeros));
		ret = mem_write(mem, gpa, zeros, n);
	}
	return ret;
}

static int dma_read(struct fw_cfg *f, gpa_t gpa, uint32_t length)
{
	struct mem *mem = f->dev.env->mem;
	size_t len;
	const uint8_t *p = rest(f, &len);
	int ret = 0;

	len = MIN(len, (size_t)length);
	if (length - len > FILL_MAX || gpa + length < gpa)
		return -EINVAL;
	if (len)
		ret = mem_write(mem, gpa, p, len);
	if (!ret)
		ret = fill_zeros(mem, gpa + len, length - len);
	if (!ret)
		advance(f, len);
	return ret;
}

static void run_dma(struct fw_cfg *f, gpa_t gpa)
{
	struct mem *mem = f->dev.env->mem;
	struct dma_desc d;
	uint32_t control, length, result = 0;
	int ret = 0;

	if (mem_read(mem, gpa, &d, sizeof(d)) < 0) {
		guest_error(&f->dev, "DMA descriptor at %#llx is not in RAM",
			    (unsigned long long)gpa);
		return;
	}
	control = be32toh(d.control);
	length = be32toh(d.length);
	if (control & DMA_SELECT)
		select_item(f, (uint16_t)(control >> 16));
	if (control & DMA_READ)
		ret = dma_read(f, be64toh(d.address), length);
	else if (control & DMA_WRITE)
		ret = -EROFS;
	else if (control & DMA_SKIP)
		advance(f, length);
	if (ret) {
		guest_error(&f->dev, "DMA of %u bytes to %#llx, control %#x", length,
			    (unsigned long long)be64toh(d.address), control);
		result = DMA_ERROR;
	}
	d.control = htobe32(result);
	if (mem_write(mem, gpa, &d.control, sizeof(d.control)) < 0)
		guest_error(&f->dev, "DMA descriptor vanished");
}

/* --- ports ---------------------------------------------------------------------------- */

static uint64_t read_dma_register(uint64_t off, unsigned size)
{
	uint64_t sig = htobe64(DMA_SIGNATURE);

	sig >>= off * 8;
	return size >= 8 ? sig : sig & (BIT(size * 8) - 1);
}

static void write_dma_register(struct fw_cfg *f, uint64_t off, uint64_t val, unsigned size)
{
	if (off == 0 && size == 4) {
		f->dma_high = be32toh((uint32_t)val);
	} else if (off == 4 && size == 4) {
		gpa_t gpa = (uint64_t)f->dma_high << 32 | be32toh((uint32_t)val);

		f->dma_high = 0;
		run_dma(f, gpa);
	} else if (off == 0 && size == 8) {
		run_dma(f, be64toh(val));
	}
}

static uint64_t fw_cfg_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);

	if (bar == BAR_DMA)
		return read_dma_register(off, size);
	return off == 1 && size == 1 ? read_byte(f) : 0;
}

static void fw_cfg_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val,
			 unsigned size)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);

	if (bar == BAR_DMA)
		write_dma_register(f, off, val, size);
	else if (off == 0 && size == 2)
		select_item(f, (uint16_t)val);
}

/* --- life ------------------------------------------------------------------------------- */

static void fw_cfg_reset(struct device *dev)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);

	select_item(f, KEY_SIGNATURE);
	f->dma_high = 0;
}

static int fw_cfg_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);
	uint32_t id = htole32(ID_TRADITIONAL | ID_DMA);
	int ret;

	f->next_key = KEY_FILE_FIRST;
	ret = put(f, KEY_SIGNATURE, "QEMU", 4);
	if (!ret)
		ret = put(f, KEY_ID, &id, sizeof(id));
	if (!ret)
		ret = rebuild_dir(f);
	if (ret)
		return err_set(err, ret, "fw_cfg: out of memory");
	ret = bus_map(dev->env->pio, dev, BAR_SELECT, 0x510, 2);
	if (!ret)
		ret = bus_map(dev->env->pio, dev, BAR_DMA, 0x514, 8);
	return ret ? err_set(err, ret, "fw_cfg: ports 510..51b are taken") : 0;
}

static void fw_cfg_fini(struct device *dev)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);

	for (unsigned i = 0; i < f->nitems; i++)
		free(f->item[i].data);
}

static const struct state_field fields[] = {
	STATE_INT(struct fw_cfg, selected),
	STATE_INT(struct fw_cfg, offset),
	STATE_INT(struct fw_cfg, dma_high),
	STATE_FIELDS_END,
};

/* Any key and offset are harmless: they are checked at every read. */
static const struct state_desc state = {.name = "fw_cfg", .version = 1, .fields = fields};

const struct dev_ops fw_cfg_ops = {
	.name = "fw_cfg",
	.size = sizeof(struct fw_cfg),
	.init = fw_cfg_init,
	.fini = fw_cfg_fini,
	.reset = fw_cfg_reset,
	.read = fw_cfg_read,
	.write = fw_cfg_write,
	.state = &state,
};
