// SPDX-License-Identifier: Apache-2.0
/*
 * bus.c - a sorted array of regions under a read-write lock.
 *
 * An access looks its region up under the read lock, drops it, and only then takes
 * the device's lock and calls the handler: a handler holds its device's lock while
 * it remaps itself (a BAR), so waiting for a device with the bus locked would be a
 * deadlock.  An access that raced with an unmapping may therefore still reach the
 * device, as it may on a real bus; devices are freed only when no vCPU runs.
 */
#include "dev/bus.h"

#include <errno.h>
#include <string.h>

#include "base/thread.h"
#include "dev/dev.h"

struct region {
	uint64_t first, last; /* inclusive, so that the top of the space fits */
	struct device *dev;
	unsigned bar;
};

struct bus { /* @lock guards all */
	pthread_rwlock_t lock;
	struct region *region; /* ascending, disjoint */
	size_t n, cap;
	uint64_t limit;
};

int bus_new(uint64_t limit, struct bus **out)
{
	struct bus *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	pthread_rwlock_init(&b->lock, NULL);
	b->limit = limit;
	*out = b;
	return 0;
}

void bus_free(struct bus *bus)
{
	if (!bus)
		return;
	pthread_rwlock_destroy(&bus->lock);
	free(bus->region);
	free(bus);
}

/* Index of the first region that ends at or after @addr. */
static size_t find(const struct bus *b, uint64_t addr)
{
	size_t lo = 0, hi = b->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (b->region[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int insert(struct bus *b, const struct region *r)
{
	size_t i = find(b, r->first);

	if (i < b->n && b->region[i].first <= r->last)
		return -EEXIST;
	if (b->n == b->cap) {
		size_t cap = b->cap ? b->cap * 2 : 16;
		struct region *v = realloc(b->region, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		b->region = v;
		b->cap = cap;
	}
	memmove(&b->region[i + 1], &b->region[i], (b->n - i) * sizeof(*r));
	b->region[i] = *r;
	b->n++;
	return 0;
}

int bus_map(struct bus *bus, struct device *dev, unsigned bar, uint64_t base, uint64_t size)
{
	struct region r = {base, base + (size - 1), dev, bar};
	int ret;

	if (!size || r.last < base || r.last > bus->limit)
		return -EINVAL;
	pthread_rwlock_wrlock(&bus->lock);
	ret = insert(bus, &r);
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

static void unmap(struct bus *b, const struct device *dev, unsigned bar, bool all)
{
	size_t kept = 0;

	pthread_rwlock_wrlock(&b->lock);
	for (size_t i = 0; i < b->n; i++)
		if (b->region[i].dev != dev || (!all && b->region[i].bar != bar))
			b->region[kept++] = b->region[i];
	b->n = kept;
	pthread_rwlock_unlock(&b->lock);
}

void bus_unmap(struct bus *bus, struct device *dev, unsigned bar)
{
	unmap(bus, dev, bar, false);
}

void bus_unmap_all(struct bus *bus, struct device *dev)
{
	unmap(bus, dev, 0, true);
}

/* The region that holds all of [@addr, @addr + @size). */
static bool look_up(struct bus *b, uint64_t addr, unsigned size, struct region *out)
{
	bool hit;
	size_t i;

	pthread_rwlock_rdlock(&b->lock);
	i = find(b, addr);
	hit = i < b->n && b->region[i].first <= addr && size - 1 <= b->region[i].last - addr;
	if (hit)
		*out = b->region[i];
	pthread_rwlock_unlock(&b->lock);
	return hit;
}

static uint64_t ones(unsigned size)
{
	return size >= 8 ? UINT64_MAX : BIT(size * 8) - 1;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size)
{
	struct region r;
	uint64_t val;

	if (!size || size > 8 || !look_up(bus, addr, size, &r) || !r.dev->ops->read)
		return ones(size);
	LOCK_SCOPE(&r.dev->lock);
	val = r.dev->ops->read(r.dev, r.bar, addr - r.first, size) & ones(size);
	log_debug(LOG_DEV, "%s: read  %u+%#llx/%u = %#llx", r.dev->id, r.bar,
		  (unsigned long long)(addr - r.first), size, (unsigned long long)val);
	return val;
}

void bus_write(struct bus *bus, uint64_t addr, uint64_t val, unsigned size)
{
	struct region r;

	if (!size || size > 8 || !look_up(bus, addr, size, &r) || !r.dev->ops->write)
		return;
	val &= ones(size);
	LOCK_SCOPE(&r.dev->lock);
	log_debug(LOG_DEV, "%s: write %u+%#llx/%u = %#llx", r.dev->id, r.bar,
		  (unsigned long long)(addr - r.first), size, (unsigned long long)val);
	r.dev->ops->write(r.dev, r.bar, addr - r.first, val, size);
}
