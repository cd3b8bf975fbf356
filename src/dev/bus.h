/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.h - an address space of device registers: the port space, or MMIO.
 *
 * Look-ups come from every vCPU; mapping changes are rare (a guest moves a BAR).
 * A read-write lock guards the sorted array; it is not held while a handler runs
 * for longer than taking the device's lock, so a handler may remap itself.
 * Nothing mapped: reads are all ones, writes vanish.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

struct device;
struct bus;

enum dev_request {		       /* to the machine, see dev_env.request */
		   DEV_REQ_RESET,      /* guest asked for a system reset */
		   DEV_REQ_POWEROFF,   /* guest turned itself off (S5) */
		   DEV_REQ_DEBUG_EXIT, /* arg: exit status */
		   DEV_REQ_ERROR,      /* an engine gave up; logged */
};

MUST_CHECK int bus_new(uint64_t limit, struct bus **out); /* @limit: last address */
void bus_free(struct bus *bus);
DEFINE_AUTO(bus);

/*
 * Route [@base, @base + @size) to @dev's handlers as its region @bar.  -EEXIST when
 * it overlaps a mapped region of the same device set, -EINVAL beyond the limit.
 */
MUST_CHECK int bus_map(struct bus *bus, struct device *dev, unsigned bar, uint64_t base,
		       uint64_t size);
void bus_unmap(struct bus *bus, struct device *dev, unsigned bar);
void bus_unmap_all(struct bus *bus, struct device *dev);

/* An access by a vCPU.  An access that crosses a region's end misses. */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size);
void bus_write(struct bus *bus, uint64_t addr, uint64_t val, unsigned size);
