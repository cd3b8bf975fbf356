/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - put one PC together, and take it apart.
 *
 * Construction order is the order of need: model and RAM, engine, interrupt
 * controllers, I/O threads, platform devices, PCI functions with their back
 * ends, then the loaded kernel and the vCPU threads, parked.  Everything that is
 * opened is opened here, because afterwards the process locks itself down.
 */
#include "machine/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dev/acpi/tables.h"
#include "dev/devices.h"
#include "dev/pci/pci.h"
#include "dev/virtio/virtio.h"
#include "irq/kernel.h"

/* --- memory and processors --------------------------------------------------- */

static int make_ram(struct machine *m, struct errbuf *err)
{
	uint64_t low = MIN(m->cfg.ram_bytes, MAP_LOW_RAM_END);
	int ret = mem_new(&m->mem);

	if (ret)
		return err_set(err, ret, "memory: %s", strerror(-ret));
	ret = mem_add_ram(m->mem, "ram-low", 0, low, err);
	if (!ret && m->cfg.ram_bytes > low)
		ret = mem_add_ram(m->mem, "ram-high", MAP_HIGH_RAM, m->cfg.ram_bytes - low, err);
	return ret;
}

static int make_vcpu(struct machine *m, unsigned i, struct errbuf *err)
{
	struct machine_vcpu *v = &m->vcpu[i];

	v->m = m;
	v->index = i;
	v->activity = i ? CPU_WAIT_SIPI : CPU_ACTIVE;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->cond, NULL);
	return m->cfg.engine->vcpu_new(m->evm, i, &v->ev, err);
}

static uint64_t guest_tsc(void *ctx, unsigned cpu)
{
	struct machine *m = ctx;

	return vclock_tsc(&m->clock) + __atomic_load_n(&m->vcpu[cpu].tsc_offset, __ATOMIC_RELAXED);
}

static int make_softchip(struct machine *m, struct errbuf *err)
{
	struct softchip_config c = {
		.ncpus = m->cfg.ncpus,
		.loop = m->loop,
		.clock = &m->clock,
		.guest_tsc = guest_tsc,
		.tsc_khz = m->tsc_khz,
		.notify = vcpu_notify,
		.ctx = m,
	};
	int ret = softchip_new(&c, &m->chip);

	if (ret)
		return err_set(err, ret, "interrupt controllers: %s", strerror(-ret));
	m->irqchip = softchip_irqchip(m->chip);
	return 0;
}

static int make_cpus(struct machine *m, struct errbuf *err)
{
	struct engine_vm_config c = {.mem = m->mem, .model = &m->model, .ncpus = m->cfg.ncpus};
	int ret;

	if (m->cfg.check)
		m->clock.slow_shift = CHECK_SLOW_SHIFT;
	c.kernel_irqchip = m->cfg.engine->vm_fd != NULL;
	c.tsc_khz = m->tsc_khz;
	c.check = m->cfg.check;
	c.count = m->cfg.count;
	c.tsc_shift = m->clock.slow_shift;
	c.code_cache = m->cfg.code_cache;
	c.warm_up = !m->cfg.check;
	c.look = m->cfg.look;
	ret = m->cfg.engine->vm_new(&c, &m->evm, err);
	if (!ret)
		ret = c.kernel_irqchip
			      ? irqchip_kernel_new(m->cfg.engine->vm_fd(m->evm), &m->irqchip, err)
			      : make_softchip(m, err);
	for (unsigned i = 0; !ret && i < m->cfg.ncpus; i++)
		ret = make_vcpu(m, i, err);
	return ret;
}

/* --- devices -------------------------------------------------------------------- */

static int add(struct machine *m, const struct dev_ops *ops, const char *id, unsigned instance,
	       const void *cfg, struct device **out, struct errbuf *err)
{
	struct device *dev;
	int ret = dev_new(ops, &m->env, id, instance, cfg, &dev, err);

	if (ret)
		return err_prefix(err, "%s", id);
	list_add(&m->devices, &dev->link);
	if (out)
		*out = dev;
	return 0;
}

static int ioeventfd(void *ctx, int fd, uint64_t gpa, unsigned size, bool add)
{
	struct machine *m = ctx;

	return m->cfg.engine->ioeventfd(m->evm, fd, gpa, size, add);
}

static int make_env(struct machine *m, struct errbuf *err)
{
	int ret = bus_new(0xffff, &m->pio);

	if (!ret)
		ret = bus_new(UINT64_MAX, &m->mmio);
	if (ret)
		return err_set(err, ret, "buses: %s", strerror(-ret));
	m->env = (struct dev_env){
		.mem = m->mem,
		.pio = m->pio,
		.mmio = m->mmio,
		.irqchip = m->irqchip,
		.loop = m->loop,
		.io_loop = iothread_loop(m->io),
		.net_loop = iothread_loop(m->net),
		.clock = &m->clock,
		.request = machine_request,
		.ctx = m,
	};
	if (m->cfg.engine->ioeventfd)
		m->env.ioeventfd = ioeventfd;
	return 0;
}

static int make_platform(struct machine *m, struct errbuf *err)
{
	uint64_t low = MIN(m->cfg.ram_bytes, MAP_LOW_RAM_END);
	struct serial_config serial = {MAP_SERIAL_PORT, GSI_SERIAL, m->cfg.console};
	struct rtc_config rtc = {low, m->cfg.ram_bytes - low};
	struct pm_config pm = {MAP_PM_PORT, GSI_SCI};
	struct softchip_dev_config chip = {m->chip};
	struct debug_exit_config debug = {MAP_DEBUG_EXIT};
	struct fw_cfg_config fw = {0};
	struct device *fwdev;
	int ret = 0;

	if (m->chip)
		ret = add(m, &softchip_dev_ops, "softchip", 0, &chip, NULL, err);
	if (!ret)
		ret = add(m, &serial_ops, "serial0", 0, &serial, &m->serial, err);
	if (!ret)
		ret = add(m, &rtc_ops, "rtc", 0, &rtc, NULL, err);
	if (!ret)
		ret = add(m, &pit_ops, "pit", 0, NULL, NULL, err);
	if (!ret)
		ret = add(m, &i8042_ops, "i8042", 0, NULL, NULL, err);
	if (!ret)
		ret = add(m, &pm_ops, "pm", 0, &pm, &m->pm, err);
	if (!ret)
		ret = add(m, &fw_cfg_ops, "fw_cfg", 0, &fw, &fwdev, err);
	if (!ret && m->cfg.debug_exit)
		ret = add(m, &debug_exit_ops, "debug-exit", 0, &debug, NULL, err);
	return ret;
}

static int thread_init_io(void *arg)
{
	struct machine *m = arg;

	return m->cfg.thread_init ? m->cfg.thread_init(m->cfg.ctx, "io") : 0;
}

static int thread_init_net(void *arg)
{
	struct machine *m = arg;

	return m->cfg.thread_init ? m->cfg.thread_init(m->cfg.ctx, "net") : 0;
}

static int add_disk(struct machine *m, unsigned i, struct errbuf *err)
{
	const struct machine_disk *d = &m->cfg.disk[i];
	struct block_open_opts o = {
		.readonly = d->readonly,
		.ephemeral = m->cfg.ephemeral,
		.holder = m->cfg.name,
		.thread_init = thread_init_io,
		.thread_arg = m,
	};
	struct virtio_blk_config c = {.nqueues = MIN(m->cfg.ncpus, 4u)};
	char id[24], serial[24];
	int ret = block_open(d->path, &o, m->env.io_loop, &m->block[i], err);

	if (ret)
		return ret;
	snprintf(id, sizeof(id), "disk%u", i);
	snprintf(serial, sizeof(serial), "caisson-%u", i);
	c.host = (struct pci_host *)m->pci;
	c.loop = m->env.io_loop;
	c.block = m->block[i];
	c.serial = serial;
	return add(m, &virtio_blk_ops, id, i, &c, NULL, err);
}

/* Locally administered, the same at every start of a VM of that name. */
static void make_mac(const char *name, unsigned i, uint8_t mac[6])
{
	uint32_t h = 2166136261u;

	for (const char *p = name; *p; p++)
		h = (h ^ (uint8_t)*p) * 16777619u;
	mac[0] = 0x52;
	mac[1] = 0x54;
	mac[2] = (uint8_t)(h >> 16);
	mac[3] = (uint8_t)(h >> 8);
	mac[4] = (uint8_t)h;
	mac[5] = (uint8_t)i;
}

static int add_net(struct machine *m, unsigned i, struct errbuf *err)
{
	const struct machine_net *n = &m->cfg.net[i];
	struct virtio_net_config c = {.nqueues = 1};
	char id[24];
	int ret;

	if (n->kind == MACHINE_NET_USER)
		ret = net_user_new(m->env.net_loop, n->forward, n->nforwards, &m->nets[i], err);
	else
		ret = net_tap_new(m->env.net_loop, n->tap, 1, &m->nets[i], err);
	if (ret)
		return ret;
	snprintf(id, sizeof(id), "net%u", i);
	c.host = (struct pci_host *)m->pci;
	c.loop = m->env.net_loop;
	c.net = m->nets[i];
	make_mac(m->cfg.name, i, c.mac);
	return add(m, &virtio_net_ops, id, i, &c, NULL, err);
}

static int make_pci(struct machine *m, struct errbuf *err)
{
	struct virtio_rng_config rng;
	int ret = add(m, &pci_host_ops, "pci", 0, NULL, &m->pci, err);

	for (unsigned i = 0; !ret && i < m->cfg.ndisks; i++)
		ret = add_disk(m, i, err);
	for (unsigned i = 0; !ret && i < m->cfg.nnets; i++)
		ret = add_net(m, i, err);
	rng = (struct virtio_rng_config){(struct pci_host *)m->pci, m->env.io_loop};
	if (!ret)
		ret = add(m, &virtio_rng_ops, "rng0", 0, &rng, NULL, err);
	return ret;
}

/* --- life ------------------------------------------------------------------------ */

static int make_iothreads(struct machine *m, struct errbuf *err)
{
	int ret = iothread_new("io", thread_init_io, m, &m->io);

	if (!ret)
		ret = iothread_new("net", thread_init_net, m, &m->net);
	return ret ? err_set(err, ret, "I/O threads: %s", strerror(-ret)) : 0;
}

static int build(struct machine *m, struct errbuf *err)
{
	int ret = cpu_model_find(m->cfg.cpu_model, m->cfg.ncpus, &m->model, err);

	if (ret)
		return ret;
	m->tsc_khz = m->model.tsc_khz = tsc_measure_khz();
	m->model.kvm_pv = true;
	ret = make_ram(m, err);
	if (!ret)
		ret = make_cpus(m, err);
	if (!ret)
		ret = make_iothreads(m, err);
	if (!ret)
		ret = make_env(m, err);
	if (!ret)
		ret = make_platform(m, err);
	if (!ret)
		ret = make_pci(m, err);
	if (!ret)
		ret = boot_open(m, err);
	if (!ret)
		ret = controllers_power_on(m, err);
	if (!ret)
		ret = vcpu_start_threads(m, err);
	if (!ret)
		ret = machine_reset(m, err);
	return ret;
}

int machine_new(const struct machine_config *cfg, struct loop *loop, struct machine **out,
		struct errbuf *err)
{
	AUTO(machine) struct machine *m = calloc(1, sizeof(*m));
	int ret;

	if (!m)
		return err_set(err, -ENOMEM, "machine '%s'", cfg->name);
	m->cfg = *cfg;
	m->loop = loop;
	m->kernel_fd = m->initrd_fd = -1;
	m->status = MACHINE_PRELAUNCH;
	list_init(&m->devices);
	pthread_mutex_init(&m->park_lock, NULL);
	pthread_cond_init(&m->park_cond, NULL);
	ret = build(m, err);
	if (ret)
		return ret;
	*out = MOVE(m);
	return 0;
}

static void free_devices(struct machine *m)
{
	while (!list_empty(&m->devices)) {
		/* in reverse: functions before their bridge */
		struct device *dev = list_entry(m->devices.prev, struct device, link);

		list_del(&dev->link);
		dev_free(dev);
	}
}

struct backend_ref {
	struct block *block;
	struct net *net;
};

static void free_backend(void *arg)
{
	struct backend_ref *r = arg;

	if (r->block) {
		block_drain(r->block);
		block_free(r->block);
	}
	net_free(r->net);
}

/* Back ends belong to their loops' threads. */
static void free_backends(struct machine *m)
{
	for (unsigned i = 0; i < m->cfg.ndisks; i++)
		if (m->block[i])
			loop_call(m->env.io_loop, free_backend,
				  &(struct backend_ref){m->block[i], NULL});
	for (unsigned i = 0; i < m->cfg.nnets; i++)
		if (m->nets[i])
			loop_call(m->env.net_loop, free_backend,
				  &(struct backend_ref){NULL, m->nets[i]});
}

static void free_cpus(struct machine *m)
{
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		if (m->vcpu[i].ev)
			m->cfg.engine->vcpu_free(m->vcpu[i].ev);
		if (m->vcpu[i].m) {
			pthread_cond_destroy(&m->vcpu[i].cond);
			pthread_mutex_destroy(&m->vcpu[i].lock);
		}
	}
	if (!m->chip)
		irqchip_kernel_free(m->irqchip);
	softchip_free(m->chip);
	if (m->evm)
		m->cfg.engine->vm_free(m->evm);
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	vcpu_stop_threads(m);
	free_devices(m);
	free_backends(m);
	iothread_free(m->io);
	iothread_free(m->net);
	bus_free(m->pio);
	bus_free(m->mmio);
	free_cpus(m);
	record_buf_fini(&m->power_on);
	mem_free(m->mem);
	if (m->kernel_fd >= 0)
		close(m->kernel_fd);
	if (m->initrd_fd >= 0)
		close(m->initrd_fd);
	pthread_cond_destroy(&m->park_cond);
	pthread_mutex_destroy(&m->park_lock);
	free(m);
}
