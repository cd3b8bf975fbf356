/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.c - the whole state of a paused machine as records, and back.
 *
 * Sections: "machine" (shape and clocks), "cpu" and "cpu-machine" once a vCPU,
 * the interrupt controllers, one per device, and "ram" chunks of pages that have
 * host memory behind them (all others read as zero).  A load goes into a machine
 * that was built with the same shape; the shape section says what differs.
 */
#include <errno.h>
#include <string.h>

#include "machine/internal.h"

enum { RAM_CHUNK = 1 << 20 };

struct shape {
	uint64_t ram_bytes, tsc_khz, clock_ns;
	uint32_t ncpus, ndevices;
	uint32_t request, request_arg; /* a device's, made while the machine was being paused */
};

static const struct state_field shape_fields[] = {
	STATE_INT(struct shape, ram_bytes),   STATE_INT(struct shape, tsc_khz),
	STATE_INT(struct shape, clock_ns),    STATE_INT(struct shape, ncpus),
	STATE_INT(struct shape, ndevices),    STATE_INT(struct shape, request),
	STATE_INT(struct shape, request_arg), STATE_FIELDS_END,
};
static const struct state_desc shape_desc = {
	.name = "machine", .version = 1, .fields = shape_fields};

/* What the machine, not the engine, knows of a vCPU. */
static const struct state_field cpu_machine_fields[] = {
	STATE_INT(struct machine_vcpu, events),
	STATE_INT(struct machine_vcpu, sipi_vector),
	STATE_INT(struct machine_vcpu, pvclock_version),
	STATE_FIELDS_END,
};
static const struct state_desc cpu_machine_desc = {
	.name = "cpu-machine", .version = 1, .fields = cpu_machine_fields};

static struct shape shape_of(const struct machine *m)
{
	struct shape s = {.ram_bytes = m->cfg.ram_bytes,
			  .tsc_khz = m->tsc_khz,
			  .clock_ns = vclock_ns(&m->clock),
			  .ncpus = m->cfg.ncpus,
			  .request = (uint32_t)__atomic_load_n(&m->request, __ATOMIC_ACQUIRE),
			  .request_arg = (uint32_t)m->request_arg};

	/* those with a state: the controllers are a device only where they are in software */
	list_for_each (l, &m->devices)
		s.ndevices += list_entry(l, struct device, link)->ops->state != NULL;
	return s;
}

/* --- save ---------------------------------------------------------------------------- */

static int save_range(struct record_buf *out, const struct mem_region *r, off_t from, off_t to,
		      uint32_t *nchunks)
{
	AUTO_PTR uint8_t *buf = malloc(8 + RAM_CHUNK);

	if (!buf)
		return -ENOMEM;
	while (from < to) {
		uint64_t n = MIN((uint64_t)(to - from), (uint64_t)RAM_CHUNK);
		uint64_t gpa = r->gpa + (uint64_t)from;
		int ret;

		memcpy(buf, &gpa, 8);
		memcpy(buf + 8, r->hva + from, n);
		ret = record_save_bytes(out, "ram", (*nchunks)++, 1, buf, 8 + n);
		if (ret)
			return ret;
		from += (off_t)n;
	}
	return 0;
}

static int save_ram(struct machine *m, struct record_buf *out)
{
	uint32_t nchunks = 0;

	for (unsigned i = 0; i < m->mem->nregions; i++) {
		const struct mem_region *r = &m->mem->region[i];
		off_t from = 0, to;

		while ((from = lseek(r->fd, from, SEEK_DATA)) >= 0) {
			int ret;

			to = lseek(r->fd, from, SEEK_HOLE);
			if (to < 0)
				return -errno;
			ret = save_range(out, r, from, to, &nchunks);
			if (ret)
				return ret;
			from = to;
		}
	}
	return 0;
}

static int save_cpu(struct machine *m, unsigned i, struct record_buf *out)
{
	struct machine_vcpu *v = &m->vcpu[i];
	struct cpu_state s;
	int ret = m->cfg.engine->get_state(v->ev, &s);

	s.tsc = m->tsc_at_pause + s.tsc_offset;
	if (m->chip)
		s.pv_system_time = v->pvclock_msr;
	if (!ret)
		ret = record_save(out, &cpu_state_desc, i, &s);
	if (!ret)
		ret = record_save(out, &cpu_machine_desc, i, v);
	return ret;
}

static int save_all(struct machine *m, struct record_buf *out, struct errbuf *err)
{
	struct shape s = shape_of(m);
	int ret = record_save(out, &shape_desc, 0, &s);

	for (unsigned i = 0; i < m->cfg.ncpus; i++)
		vcpu_settle(&m->vcpu[i]);
	/* before the vCPUs: fetching a kernel's APIC may hand its vCPU an interrupt */
	if (!ret)
		ret = controllers_save(m, out, err);
	for (unsigned i = 0; !ret && i < m->cfg.ncpus; i++)
		ret = save_cpu(m, i, out);
	list_for_each (l, &m->devices) {
		struct device *dev = list_entry(l, struct device, link);

		if (!ret && dev->ops->state)
			ret = record_save(out, dev->ops->state, dev->instance, dev);
	}
	return ret ? ret : save_ram(m, out);
}

int machine_save(struct machine *m, struct record_buf *out, struct errbuf *err)
{
	int ret;

	if (m->status == MACHINE_RUNNING)
		return err_set(err, -EBUSY, "machine '%s' is running; pause it first", m->cfg.name);
	ret = save_all(m, out, err);
	return ret ? err_set(err, ret, "saving '%s': %s", m->cfg.name, strerror(-ret)) : 0;
}

/* --- load ---------------------------------------------------------------------------- */

static int load_shape(struct machine *m, const uint8_t *data, size_t len, struct errbuf *err)
{
	struct shape want = shape_of(m), s;
	int ret = record_load(data, len, &shape_desc, 0, &s, err);

	if (ret)
		return ret;
	if (s.ram_bytes != want.ram_bytes || s.ncpus != want.ncpus || s.ndevices != want.ndevices)
		return err_set(err, -EINVAL,
			       "the state is of a machine with %llu MiB, %u vCPUs and %u devices, "
			       "this one has %llu MiB, %u and %u; start it with the same options",
			       (unsigned long long)s.ram_bytes >> 20, s.ncpus, s.ndevices,
			       (unsigned long long)want.ram_bytes >> 20, want.ncpus, want.ndevices);
	if (s.request > DEV_REQ_ERROR + 1)
		return err_set(err, -EINVAL, "the state holds the unknown request %u", s.request);
	m->request_arg = (int)s.request_arg;
	__atomic_store_n(&m->request, (int)s.request, __ATOMIC_RELEASE); /* for the resume */
	m->clock.base_ns = s.clock_ns;
	m->clock.running = false;
	return 0;
}

static int load_ram(struct machine *m, const uint8_t *data, size_t len, struct errbuf *err)
{
	mem_discard_all(m->mem);
	for (uint32_t i = 0;; i++) {
		const uint8_t *chunk;
		size_t n;
		uint64_t gpa;
		int ret = record_find_bytes(data, len, "ram", i, &chunk, &n, err);

		if (ret == -ENOENT)
			return 0;
		if (ret)
			return ret;
		if (n < 8)
			return err_set(err, -EINVAL, "RAM chunk %u is empty", i);
		memcpy(&gpa, chunk, 8);
		if (mem_write(m->mem, gpa, chunk + 8, n - 8) < 0)
			return err_set(err, -EINVAL, "RAM chunk %u at %#llx is outside RAM", i,
				       (unsigned long long)gpa);
		/* chunks follow each other: the next search starts behind this one */
		len -= (size_t)(chunk + n - data);
		data = chunk + n;
	}
}

static int load_cpu(struct machine *m, unsigned i, const uint8_t *data, size_t len,
		    struct errbuf *err)
{
	struct machine_vcpu *v = &m->vcpu[i];
	struct cpu_state s = {0};
	int ret = record_load(data, len, &cpu_state_desc, i, &s, err);

	if (!ret)
		ret = record_load(data, len, &cpu_machine_desc, i, v, err);
	if (ret)
		return ret;
	s.tsc_offset = s.tsc - m->tsc_at_pause;
	ret = m->cfg.engine->set_state(v->ev, &s, err);
	v->activity = s.activity;
	v->tsc_offset = s.tsc_offset;
	v->pvclock_msr = s.pv_system_time;
	v->mid_insn = false;
	v->irq_hint = true;
	return ret;
}

static int load_devices(struct machine *m, const uint8_t *data, size_t len, struct errbuf *err)
{
	list_for_each (l, &m->devices) {
		struct device *dev = list_entry(l, struct device, link);
		int ret;

		if (!dev->ops->state)
			continue;
		ret = record_load(data, len, dev->ops->state, dev->instance, dev, err);
		if (ret)
			return err_prefix(err, "%s", dev->id);
	}
	return 0;
}

int machine_load(struct machine *m, const uint8_t *data, size_t len, struct errbuf *err)
{
	int ret;

	if (m->status == MACHINE_RUNNING)
		return err_set(err, -EBUSY, "machine '%s' is running; pause it first", m->cfg.name);
	m->tsc_at_pause = vclock_tsc(&m->clock);
	ret = load_shape(m, data, len, err);
	if (!ret)
		ret = load_ram(m, data, len, err);
	for (unsigned i = 0; !ret && i < m->cfg.ncpus; i++)
		ret = load_cpu(m, i, data, len, err);
	/* after the vCPUs: an APIC's deadline is in the TSC of its vCPU */
	if (!ret)
		ret = controllers_load(m, data, len, err);
	return ret ? ret : load_devices(m, data, len, err);
}
