// SPDX-License-Identifier: Apache-2.0
/*
 * tables.c - the ACPI tables around the DSDT.
 *
 * The blob is laid out as RSDP, FACS (64-byte aligned), DSDT, FADT, MADT, MCFG, XSDT;
 * each table is appended once everything it points to has its address.  Checksums
 * are computed as the last step of each table.
 *
 * Source: ACPI 6.4, chapter 5.2; PCI Firmware 3.2, 4.1.2 (MCFG).
 */
#include "dev/acpi/tables.h"

#include <errno.h>
#include <string.h>

#include "dev/acpi/dsdt.h"
#include "dev/acpi/pm.h"

enum { MAX_CPUS = 64, MAX_BLOB = 64 * 1024, ONE_MIB = 1 << 20 };
enum { LAPIC_ADDR = 0xfee00000u, IOAPIC_ADDR = 0xfec00000u };
enum { PM_PROFILE_SERVER = 4, CMOS_CENTURY = 0x32 };

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t ext_checksum, reserved[3];
} __attribute__((packed));

struct gas { /* generic address structure */
	uint8_t space, bits, offset, access;
	uint64_t addr;
} __attribute__((packed));

struct facs {
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version, reserved[3];
	uint32_t ospm_flags;
	uint8_t reserved2[24];
} __attribute__((packed));

struct fadt {
	struct header h;
	uint32_t facs, dsdt;
	uint8_t reserved, pm_profile;
	uint16_t sci;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base;
	uint8_t cst;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_revision;
	uint64_t x_facs, x_dsdt;
	struct gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr, x_gpe0,
		x_gpe1, sleep_control, sleep_status;
	char hypervisor[8];
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 276, "FADT of ACPI 6.4");

enum { BOOT_LEGACY_DEVICES = 1 << 0, BOOT_NO_VGA = 1 << 2 }; /* and no 8042: bit 1 clear */
enum {
	FADT_WBINVD = 1 << 0,
	FADT_C1 = 1 << 2,
	FADT_NO_SLEEP_BUTTON = 1 << 5,
	FADT_RTC_NOT_FIXED = 1 << 6,
	FADT_TIMER_32 = 1 << 8,
	FADT_RESET_REG = 1 << 10,
	FADT_APIC_PHYSICAL = 1 << 19,
};

struct madt_head {
	struct header h;
	uint32_t lapic, flags;
} __attribute__((packed));

struct madt_lapic {
	uint8_t type, length, uid, id;
	uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t addr, gsi_base;
} __attribute__((packed));

struct madt_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));

struct madt_nmi {
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));
enum { INTI_LEVEL_HIGH = 0x0d };

struct mcfg {
	struct header h;
	uint64_t reserved, base;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint32_t reserved2;
} __attribute__((packed));

struct blob {
	struct aml a; /* a plain growing buffer here */
	uint64_t base;
};

/* --- helpers ----------------------------------------------------------------------- */

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += p[i];
	return (uint8_t)(0 - sum);
}

static struct header make_header(const char *signature, uint8_t revision)
{
	struct header h = {
		.revision = revision,
		.oem_id = "CAISSN",
		.oem_table_id = "CAISSON ",
		.oem_revision = 1,
		.creator_id = "CSSN",
		.creator_revision = 1,
	};

	memcpy(h.signature, signature, 4);
	return h;
}

static void align(struct blob *b, size_t to)
{
	while (b->a.len % to && !b->a.failed)
		aml_byte(&b->a, 0);
}

/* Append a table, length and checksum filled in.  Returns its guest address. */
static uint64_t append(struct blob *b, void *table, size_t len)
{
	struct header *h = table;
	uint64_t at;

	align(b, 16);
	at = b->base + b->a.len;
	h->length = (uint32_t)len;
	h->checksum = 0;
	h->checksum = checksum(table, len);
	aml_bytes(&b->a, table, len);
	return at;
}

static struct gas io_register(uint64_t port, uint8_t len)
{
	/* access size: 1 byte, 2 word, 3 dword; blocks of two registers by word */
	return (struct gas){
		.space = 1, .bits = (uint8_t)(len * 8), .access = len == 1 ? 1 : 2, .addr = port};
}

/* --- tables --------------------------------------------------------------------------- */

static uint64_t add_facs(struct blob *b)
{
	struct facs f = {.signature = "FACS", .length = sizeof(f), .version = 2};
	uint64_t at;

	align(b, 64);
	at = b->base + b->a.len;
	aml_bytes(&b->a, &f, sizeof(f));
	return at;
}

static uint64_t add_dsdt(struct blob *b, const struct acpi_config *c)
{
	struct header h = make_header("DSDT", 2); /* 2: 64-bit integers */
	struct aml a = {0};
	uint64_t at = 0;

	aml_bytes(&a, &h, sizeof(h));
	dsdt_build(&a, c);
	b->a.failed |= a.failed;
	if (!a.failed)
		at = append(b, a.buf, a.len);
	aml_fini(&a);
	return at;
}

static void fill_pm_blocks(struct fadt *f, uint16_t port)
{
	f->pm1a_evt = port + PM_EVENT;
	f->pm1a_cnt = port + PM_CONTROL;
	f->pm_tmr = port + PM_TIMER;
	f->gpe0 = port + PM_GPE0;
	f->pm1_evt_len = PM_EVENT_LEN;
	f->pm1_cnt_len = PM_CONTROL_LEN;
	f->pm_tmr_len = PM_TIMER_LEN;
	f->gpe0_len = PM_GPE0_LEN;
	f->x_pm1a_evt = io_register(f->pm1a_evt, PM_EVENT_LEN);
	f->x_pm1a_cnt = io_register(f->pm1a_cnt, PM_CONTROL_LEN);
	f->x_pm_tmr = io_register(f->pm_tmr, PM_TIMER_LEN);
	f->x_pm_tmr.access = 3;
	f->x_gpe0 = io_register(f->gpe0, PM_GPE0_LEN);
	f->x_gpe0.access = 1;
	f->reset_reg = io_register(port + PM_RESET, 1);
	f->reset_value = PM_RESET_VALUE;
}

static uint64_t add_fadt(struct blob *b, const struct acpi_config *c, uint64_t facs, uint64_t dsdt)
{
	struct fadt f = {
		.h = make_header("FACP", 6),
		.facs = (uint32_t)facs,
		.dsdt = (uint32_t)dsdt,
		.x_dsdt = dsdt,
		.pm_profile = PM_PROFILE_SERVER,
		.sci = (uint16_t)c->sci_gsi,
		.c2_latency = 0xfff,
		.c3_latency = 0xfff, /* neither exists */
		.century = CMOS_CENTURY,
		.boot_arch = BOOT_LEGACY_DEVICES | BOOT_NO_VGA,
		.flags = FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP_BUTTON | FADT_RTC_NOT_FIXED |
			 FADT_TIMER_32 | FADT_RESET_REG | (c->ncpus > 8 ? FADT_APIC_PHYSICAL : 0),
		.minor_revision = 4,
		.hypervisor = "CAISSON",
	};

	fill_pm_blocks(&f, c->pm_port);
	return append(b, &f, sizeof(f));
}

static uint64_t add_madt(struct blob *b, const struct acpi_config *c)
{
	struct madt_head head = {make_header("APIC", 5), LAPIC_ADDR, 1 /* also has 8259s */};
	struct madt_ioapic io = {1, sizeof(io), 0, 0, IOAPIC_ADDR, 0};
	struct madt_override pit = {2, sizeof(pit), 0, 0, 2, 0};
	struct madt_override sci = {2,		sizeof(sci),	0, (uint8_t)c->sci_gsi,
				    c->sci_gsi, INTI_LEVEL_HIGH};
	struct madt_nmi nmi = {4, sizeof(nmi), 0xff, 0, 1};
	struct aml a = {0};
	uint64_t at = 0;

	aml_bytes(&a, &head, sizeof(head));
	for (unsigned i = 0; i < c->ncpus; i++) {
		struct madt_lapic l = {0, sizeof(l), (uint8_t)i, (uint8_t)i, 1};

		aml_bytes(&a, &l, sizeof(l));
	}
	aml_bytes(&a, &io, sizeof(io));
	aml_bytes(&a, &pit, sizeof(pit));
	aml_bytes(&a, &sci, sizeof(sci));
	aml_bytes(&a, &nmi, sizeof(nmi));
	b->a.failed |= a.failed;
	if (!a.failed)
		at = append(b, a.buf, a.len);
	aml_fini(&a);
	return at;
}

static uint64_t add_mcfg(struct blob *b, const struct acpi_config *c)
{
	struct mcfg m = {
		.h = make_header("MCFG", 1),
		.base = c->ecam_base,
		.last_bus = (uint8_t)((c->ecam_size >> 20) - 1),
	};

	return append(b, &m, sizeof(m));
}

static void finish(struct blob *b, uint64_t xsdt)
{
	struct rsdp r = {
		.signature = "RSD PTR ",
		.oem_id = "CAISSN",
		.revision = 2,
		.length = sizeof(r),
		.xsdt = xsdt,
	};

	r.checksum = checksum(&r, 20); /* the part of ACPI 1.0 */
	r.ext_checksum = checksum(&r, sizeof(r));
	if (!b->a.failed)
		memcpy(b->a.buf, &r, sizeof(r));
}

static int check(const struct acpi_config *c, struct errbuf *err)
{
	if (!c->ncpus || c->ncpus > MAX_CPUS)
		return err_set(err, -EINVAL, "ACPI: %u vCPUs; 1 to %d are possible", c->ncpus,
			       MAX_CPUS);
	if (c->base % 4096 || c->base >= ONE_MIB)
		return err_set(err, -EINVAL, "ACPI: %#llx is not a page below 1 MiB",
			       (unsigned long long)c->base);
	if (c->sci_gsi > 15 || c->serial_gsi > 15)
		return err_set(err, -EINVAL, "ACPI: SCI %u and serial %u must be ISA interrupts",
			       c->sci_gsi, c->serial_gsi);
	if (c->ecam_size < ONE_MIB || c->ecam_size > 256 * ONE_MIB || !c->mmio32_size ||
	    c->mmio32_base + c->mmio32_size > 1ULL << 32)
		return err_set(
			err, -EINVAL, "ACPI: ECAM of %#llx, window of %#llx bytes do not fit",
			(unsigned long long)c->ecam_size, (unsigned long long)c->mmio32_size);
	return 0;
}

int acpi_build(const struct acpi_config *cfg, uint8_t **out, size_t *len, struct errbuf *err)
{
	struct blob b = {.base = cfg->base};
	struct {
		struct header h;
		uint64_t table[3];
	} __attribute__((packed)) xsdt = {.h = make_header("XSDT", 1)};
	uint64_t facs, dsdt;
	int ret = check(cfg, err);

	if (ret)
		return ret;
	aml_bytes(&b.a, &(struct rsdp){0}, sizeof(struct rsdp));
	facs = add_facs(&b);
	dsdt = add_dsdt(&b, cfg);
	xsdt.table[0] = add_fadt(&b, cfg, facs, dsdt);
	xsdt.table[1] = add_madt(&b, cfg);
	xsdt.table[2] = add_mcfg(&b, cfg);
	finish(&b, append(&b, &xsdt, sizeof(xsdt)));
	if (b.a.failed) {
		aml_fini(&b.a);
		return err_set(err, -ENOMEM, "ACPI tables");
	}
	if (b.a.len > MAX_BLOB || b.base + b.a.len > ONE_MIB) {
		ret = err_set(err, -ENOSPC, "ACPI: %zu bytes do not fit at %#llx", b.a.len,
			      (unsigned long long)b.base);
		aml_fini(&b.a);
		return ret;
	}
	*out = b.a.buf;
	*len = b.a.len;
	return 0;
}
