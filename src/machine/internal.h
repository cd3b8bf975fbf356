/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - what the files of src/machine/ share. */
#pragma once

#include <pthread.h>
#include "block/block.h"
#include "dev/dev.h"
#include "irq/soft.h"
#include "machine/machine.h"
#include "mem/mem.h"
#include "net/net.h"

/* Memory map.  PCI windows are in dev/pci/pci.h. */
#define MAP_LOW_RAM_END 0xc0000000ULL /* RAM above goes to 4 GiB */
#define MAP_HIGH_RAM	0x100000000ULL
#define MAP_ACPI	0xe0000ULL
#define MAP_APIC	0xfee00000ULL
#define MAP_PM_PORT	0x600
#define MAP_SERIAL_PORT 0x3f8
#define MAP_DEBUG_EXIT	0xf4
/* Lock-step: the guest's time runs as slowly as its code, so that it does not give up waiting. */
enum { CHECK_SLOW_SHIFT = 4 };
enum { GSI_SERIAL = 4, GSI_SCI = 9 };

enum vcpu_event { /* bits of machine_vcpu.events */
		  VEV_INIT = 1 << 0,
		  VEV_SIPI = 1 << 1,
		  VEV_NMI = 1 << 2,
		  VEV_UNHALT = 1 << 3, /* KVM_HC_KICK_CPU */
};

struct machine_vcpu { /* owner: its thread; fields under lock are marked L */
	struct machine *m;
	unsigned index;
	struct engine_vcpu *ev;
	pthread_t thread;
	bool started;
	int tid;
	pthread_mutex_t lock;
	pthread_cond_t cond;	      /* events, resume, a pending interrupt */
	unsigned events;	      /* L; enum vcpu_event */
	bool irq_hint;		      /* L: softchip_pending() may hold */
	bool sleeping;		      /* L: halted in wait_halted() */
	uint8_t sipi_vector;	      /* L */
	bool window;		      /* engine was asked for EXIT_WINDOW */
	bool mid_insn;		      /* the latest exit's instruction is not complete yet */
	uint8_t activity;	      /* enum cpu_activity, software irqchip only */
	uint64_t exits[EXIT_REASONS]; /* atomic: read by any thread */
	uint64_t tsc_offset;	      /* atomic copy for the APIC's deadline */
	uint64_t pvclock_msr;	      /* as the guest wrote it; saved */
	uint32_t pvclock_version;
};

struct machine { /* owner: the machine loop's thread unless said otherwise */
	struct machine_config cfg;
	struct loop *loop;
	struct vclock clock;
	enum machine_status status;
	struct cpu_model model;
	struct mem *mem;
	struct engine_vm *evm;
	struct softchip *chip; /* NULL: controllers in the kernel */
	struct irqchip *irqchip;
	struct record_buf power_on; /* of the kernel's controllers */
	struct bus *pio, *mmio;
	struct iothread *io, *net;
	struct dev_env env;
	struct list devices;
	struct device *pm, *pci, *serial;
	struct block *block[MACHINE_MAX_DISKS];
	struct net *nets[MACHINE_MAX_NETS];
	struct machine_vcpu vcpu[MACHINE_MAX_CPUS];
	int kernel_fd, initrd_fd;
	uint64_t tsc_khz;
	uint64_t tsc_at_pause;	     /* host TSC */
	uint64_t pv_host_tsc, pv_ns; /* one instant in both clocks, for all vCPUs' PV clocks */

	pthread_mutex_t park_lock; /* leaf; guards nparked with vCPU locks not held */
	pthread_cond_t park_cond;
	unsigned nparked;
	bool stop_vcpus; /* atomic: park as soon as possible */
	bool quit;	 /* atomic: threads end */
	int request;	 /* atomic: enum dev_request + 1 under way */
	int request_arg; /* of the request under way */
};

/* lifecycle.c: the request of a device (dev_env.request).  Any thread. */
void machine_request(void *ctx, enum dev_request req, int arg);

/* vcpu.c */
MUST_CHECK int vcpu_start_threads(struct machine *m, struct errbuf *err);
void vcpu_stop_threads(struct machine *m);
/* Park all vCPUs / let them go.  Machine loop's thread. */
void vcpu_park_all(struct machine *m);
void vcpu_unpark_all(struct machine *m);
/* Ask all to park without waiting.  Any thread. */
void vcpu_park_request(struct machine *m);
void vcpu_notify(void *ctx, unsigned cpu, enum soft_event ev, unsigned arg);
/* While parked: turn INIT, SIPI and NMI that wait for the vCPU into its state. */
void vcpu_settle(struct machine_vcpu *v);
void vcpu_post_event(struct machine_vcpu *v, unsigned event);

/* controllers.c: the interrupt controllers in software or in the kernel.  While parked. */
MUST_CHECK int controllers_save(struct machine *m, struct record_buf *out, struct errbuf *err);
MUST_CHECK int controllers_load(struct machine *m, const uint8_t *data, size_t len,
				struct errbuf *err);
MUST_CHECK int controllers_power_on(struct machine *m, struct errbuf *err);
MUST_CHECK int controllers_reset(struct machine *m, struct errbuf *err);

/* paravirt.c: KVM's MSRs and hypercalls, for engines without a kernel below. */
int paravirt_wrmsr(struct machine_vcpu *v, uint32_t msr, uint64_t val);
int paravirt_rdmsr(struct machine_vcpu *v, uint32_t msr, uint64_t *val);
uint64_t paravirt_hypercall(struct machine_vcpu *v, const struct engine_exit *e);
/* The relation of TSC and VM time changed: write it anew.  While paused. */
void paravirt_update(struct machine_vcpu *v);

/* boot.c: open the kernel's files once; load them at every reset. */
MUST_CHECK int boot_open(struct machine *m, struct errbuf *err);
MUST_CHECK int boot_load(struct machine *m, struct errbuf *err);

/* tsc.c: the host's TSC frequency, measured over some 20 ms. */
uint64_t tsc_measure_khz(void);
