/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - reset values of struct cpu_state, its field table, comparing, printing.
 *
 * The field table is the one list of registers: saving uses it, and so does the
 * comparison of two engines' states.  A loaded state is checked here for what no
 * processor of any model can hold; an engine checks the rest against its model.
 */
#include "cpu/state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- reset (SDM vol. 3A, table 10-1) ----------------------------------------------- */

enum {
	RESET_CPU_SIGNATURE = 0x600, /* in EDX: family 6, no more is promised */
	RESET_FCW = 0x40,
	RESET_FTW = 0xff, /* abridged: all valid zeros */
	RESET_MXCSR = 0x1f80,
	MXCSR_BITS = 0xffff,
	MISC_FAST_STRINGS = 1,
};
#define RESET_PAT  0x0007040600070406ULL
#define APIC_RESET 0xfee00800ULL
#define APIC_BSP   0x100ULL
#define DR6_RESET  0xffff0ff0ULL
#define DR7_RESET  0x400ULL

static void reset_segments(struct cpu_state *s)
{
	const uint16_t data = ATTR_P | ATTR_S | ATTR_W | ATTR_A;

	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->seg[i] = (struct cpu_seg){.limit = 0xffff, .attr = data};
	s->seg[SEG_CS] = (struct cpu_seg){
		.sel = 0xf000, .base = 0xffff0000, .limit = 0xffff, .attr = data | ATTR_X};
	s->ldt = (struct cpu_seg){.limit = 0xffff, .attr = ATTR_P | 2};
	s->tr = (struct cpu_seg){.limit = 0xffff, .attr = ATTR_P | 11};
	s->gdt = s->idt = (struct cpu_dtr){.limit = 0xffff};
}

/* What power-up sets and INIT leaves alone. */
static void reset_kept(struct cpu_state *s)
{
	memset(s, 0, sizeof(*s));
	s->xcr0 = XCR0_X87;
	s->pat = RESET_PAT;
	s->misc_enable = MISC_FAST_STRINGS;
	s->fx.fcw = RESET_FCW;
	s->fx.ftw = RESET_FTW;
	s->fx.mxcsr = RESET_MXCSR;
	s->fx.mxcsr_mask = MXCSR_BITS;
}

static void reset_events(struct cpu_state *s, bool is_bsp)
{
	s->activity = is_bsp ? CPU_ACTIVE : CPU_WAIT_SIPI;
	s->int_shadow = s->nmi_pending = s->nmi_blocked = 0;
	s->exc_pending = s->exc_vector = s->exc_has_error = 0;
	s->int_injected = s->int_vector = 0;
	s->exc_error = 0;
}

void cpu_state_reset(struct cpu_state *s, bool is_bsp, bool init)
{
	uint64_t cache = init ? s->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW;

	if (!init)
		reset_kept(s);
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[GPR_RDX] = RESET_CPU_SIGNATURE;
	s->rip = 0xfff0;
	s->rflags = FL_RES1;
	reset_segments(s);
	s->cr0 = CR0_ET | cache;
	s->cr2 = s->cr3 = s->cr4 = s->cr8 = s->efer = 0;
	memset(s->dr, 0, sizeof(s->dr));
	s->dr6 = DR6_RESET;
	s->dr7 = DR7_RESET;
	s->apic_base = APIC_RESET | (is_bsp ? APIC_BSP : 0);
	reset_events(s, is_bsp);
}

/* --- fields --------------------------------------------------------------------------- */

#define I(m) STATE_INT(struct cpu_state, m)
#define A(m) STATE_ARRAY(struct cpu_state, m)

static const struct state_field seg_fields[] = {
	STATE_INT(struct cpu_seg, base),
	STATE_INT(struct cpu_seg, limit),
	STATE_INT(struct cpu_seg, sel),
	STATE_INT(struct cpu_seg, attr),
	STATE_FIELDS_END,
};

static const struct state_field dtr_fields[] = {
	STATE_INT(struct cpu_dtr, base),
	STATE_INT(struct cpu_dtr, limit),
	STATE_FIELDS_END,
};

static const struct state_field fx_fields[] = {
	STATE_INT(struct cpu_fxsave, fcw),   STATE_INT(struct cpu_fxsave, fsw),
	STATE_INT(struct cpu_fxsave, ftw),   STATE_INT(struct cpu_fxsave, fop),
	STATE_INT(struct cpu_fxsave, fip),   STATE_INT(struct cpu_fxsave, fdp),
	STATE_INT(struct cpu_fxsave, mxcsr), STATE_INT(struct cpu_fxsave, mxcsr_mask),
	STATE_BYTES(struct cpu_fxsave, st),  STATE_FIELDS_END,
};

static const struct state_field vec_fields[] = {
	STATE_BYTES(struct cpu_vec, b),
	STATE_FIELDS_END,
};

static const struct state_field cpu_fields[] = {
	A(gpr),
	I(rip),
	I(rflags),
	STATE_STRUCTS(struct cpu_state, seg, seg_fields),
	STATE_STRUCT(struct cpu_state, ldt, seg_fields),
	STATE_STRUCT(struct cpu_state, tr, seg_fields),
	STATE_STRUCT(struct cpu_state, gdt, dtr_fields),
	STATE_STRUCT(struct cpu_state, idt, dtr_fields),
	I(cr0),
	I(cr2),
	I(cr3),
	I(cr4),
	I(cr8),
	I(xcr0),
	I(efer),
	A(dr),
	I(dr6),
	I(dr7),
	I(star),
	I(lstar),
	I(cstar),
	I(sfmask),
	I(kernel_gs_base),
	I(tsc_aux),
	I(sysenter_cs),
	I(sysenter_esp),
	I(sysenter_eip),
	I(pat),
	I(misc_enable),
	I(xss),
	I(spec_ctrl),
	I(tsc_adjust),
	I(tsc_offset),
	I(tsc),
	I(apic_base),
	I(tsc_deadline),
	I(mtrr_def_type),
	A(mtrr_fix),
	A(mtrr_base),
	A(mtrr_mask),
	I(mcg_status),
	I(pv_system_time),
	I(activity),
	I(int_shadow),
	I(nmi_pending),
	I(nmi_blocked),
	I(exc_pending),
	I(exc_vector),
	I(exc_has_error),
	I(int_injected),
	I(int_vector),
	I(exc_error),
	STATE_STRUCT(struct cpu_state, fx, fx_fields),
	STATE_STRUCTS(struct cpu_state, vec, vec_fields),
	STATE_FIELDS_END,
};

/* --- checking a loaded state ---------------------------------------------------------- */

struct rule {
	const char *what;
	uint64_t value;
	bool broken;
};

static bool addresses_canonical(const struct cpu_state *s)
{
	const uint64_t a[] = {s->gdt.base,	   s->idt.base,	       s->tr.base,
			      s->ldt.base,	   s->lstar,	       s->cstar,
			      s->kernel_gs_base,   s->sysenter_esp,    s->sysenter_eip,
			      s->seg[SEG_FS].base, s->seg[SEG_GS].base};

	for (unsigned i = 0; i < ARRAY_SIZE(a); i++)
		if ((uint64_t)((int64_t)(a[i] << 16) >> 16) != a[i])
			return false;
	return true;
}

static bool event_flags_ok(const struct cpu_state *s)
{
	return s->int_shadow <= 1 && s->nmi_pending <= 1 && s->nmi_blocked <= 1 &&
	       s->exc_pending <= 1 && s->exc_has_error <= 1 && s->int_injected <= 1;
}

static int check_loaded(void *obj, struct errbuf *err)
{
	const struct cpu_state *s = obj;
	const struct rule rules[] = {
		{"activity", s->activity, s->activity > CPU_SHUTDOWN},
		{"event flags", s->exc_pending, !event_flags_ok(s)},
		{"pending exception", s->exc_vector, s->exc_pending && s->exc_vector > 31},
		{"RFLAGS", s->rflags, !(s->rflags & FL_RES1) || s->rflags >> 22},
		{"CR0", s->cr0, s->cr0 >> 32 || (s->cr0 & CR0_PG && !(s->cr0 & CR0_PE))},
		{"CR8", s->cr8, s->cr8 > 15},
		{"XCR0", s->xcr0, !(s->xcr0 & XCR0_X87)},
		{"DR6", s->dr6, s->dr6 >> 32 != 0},
		{"DR7", s->dr7, s->dr7 >> 32 != 0},
		{"MXCSR", s->fx.mxcsr, s->fx.mxcsr >> 16 != 0},
		{"a base address", 0, !addresses_canonical(s)},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].broken)
			return err_set(err, -EINVAL,
				       "vCPU state: no processor has %s %#llx; the file is damaged",
				       rules[i].what, (unsigned long long)rules[i].value);
	return 0;
}

const struct state_desc cpu_state_desc = {
	.name = "cpu",
	.version = 1,
	.fields = cpu_fields,
	.post_load = check_loaded,
};

/* --- text ----------------------------------------------------------------------------------- */

struct text { /* what does not fit is cut off */
	char *buf;
	size_t len, at;
};

static void add(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add(struct text *t, const char *fmt, ...)
{
	size_t room = t->at < t->len ? t->len - t->at : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(room ? t->buf + t->at : NULL, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->at += (size_t)n;
}

static const char *const gpr_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					  "r8",	 "r9",	"r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const seg_names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs"};

/* Name of element @i of @f, below @prefix: "rax", "cs.limit", "vec[3].b", "mtrr_fix[2]". */
static void element_name(char *out, size_t len, const char *prefix, const struct state_field *f,
			 unsigned i)
{
	if (f == cpu_fields)
		snprintf(out, len, "%s", gpr_names[i]);
	else if (!strcmp(f->name, "seg"))
		snprintf(out, len, "%s", seg_names[i]);
	else if (!strcmp(f->name, "dr"))
		snprintf(out, len, "dr%u", i);
	else if (f->count > 1)
		snprintf(out, len, "%s%s[%u]", prefix, f->name, i);
	else
		snprintf(out, len, "%s%s", prefix, f->name);
}

static uint64_t get_int(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, p, size); /* little-endian, as the host */
	return v;
}

static void add_bytes(struct text *t, const uint8_t *p, unsigned n)
{
	add(t, " ");
	while (n-- > 0)
		add(t, "%02x", p[n]);
}

static int diff_fields(struct text *t, const struct state_field *f, const char *prefix,
		       const uint8_t *a, const uint8_t *b);

static int diff_element(struct text *t, const struct state_field *f, const char *name,
			const uint8_t *a, const uint8_t *b)
{
	char prefix[64];

	if (f->kind == STATE_STRUCT) {
		snprintf(prefix, sizeof(prefix), "%s.", name);
		return diff_fields(t, f->sub, prefix, a, b);
	}
	if (!memcmp(a, b, f->size))
		return 0;
	if (f->kind == STATE_INT) {
		add(t, "%s: %#llx %#llx\n", name, (unsigned long long)get_int(a, f->size),
		    (unsigned long long)get_int(b, f->size));
	} else {
		add(t, "%s:", name);
		add_bytes(t, a, f->size);
		add_bytes(t, b, f->size);
		add(t, "\n");
	}
	return 1;
}

/* Nested at most two deep: the tables above. */
static int diff_fields(struct text *t, const struct state_field *f, const char *prefix,
		       const uint8_t *a, const uint8_t *b)
{
	int n = 0;

	for (; f->kind != STATE_END; f++) {
		for (unsigned i = 0; i < f->count; i++) {
			uint32_t at = f->offset + i * f->size;
			char name[48];

			element_name(name, sizeof(name), prefix, f, i);
			n += diff_element(t, f, name, a + at, b + at);
		}
	}
	return n;
}

int cpu_state_diff(const struct cpu_state *a, const struct cpu_state *b, char *buf, size_t len)
{
	struct text t = {.buf = buf, .len = len};

	if (len)
		buf[0] = 0;
	return diff_fields(&t, cpu_fields, "", (const uint8_t *)a, (const uint8_t *)b);
}

typedef unsigned long long ull;

static void print_seg(struct text *t, const char *name, const struct cpu_seg *s)
{
	add(t, "%-3s %04x base %016llx limit %08x attr %04x\n", name, s->sel, (ull)s->base,
	    s->limit, s->attr);
}

void cpu_state_print(const struct cpu_state *s, char *buf, size_t len)
{
	static const char *const activity[] = {"running", "halted", "waiting for SIPI",
					       "shut down"};
	struct text t = {.buf = buf, .len = len};

	if (len)
		buf[0] = 0;
	for (unsigned i = 0; i < 16; i++)
		add(&t, "%-3s %016llx%s", gpr_names[i], (ull)s->gpr[i], i % 4 == 3 ? "\n" : "  ");
	add(&t, "rip %016llx  rflags %08llx  %s%s%s\n", (ull)s->rip, (ull)s->rflags,
	    s->activity < ARRAY_SIZE(activity) ? activity[s->activity] : "?",
	    s->int_shadow ? ", interrupt shadow" : "", s->nmi_blocked ? ", NMIs blocked" : "");
	for (unsigned i = 0; i < SEG_COUNT; i++)
		print_seg(&t, seg_names[i], &s->seg[i]);
	print_seg(&t, "ldt", &s->ldt);
	print_seg(&t, "tr", &s->tr);
	add(&t, "gdt %016llx limit %04x  idt %016llx limit %04x\n", (ull)s->gdt.base, s->gdt.limit,
	    (ull)s->idt.base, s->idt.limit);
	add(&t, "cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  cr8 %llx\n", (ull)s->cr0,
	    (ull)s->cr2, (ull)s->cr3, (ull)s->cr4, (ull)s->cr8);
	add(&t, "efer %04llx  xcr0 %llx  dr6 %08llx  dr7 %08llx\n", (ull)s->efer, (ull)s->xcr0,
	    (ull)s->dr6, (ull)s->dr7);
	add(&t, "fcw %04x  fsw %04x  ftw %02x  mxcsr %04x\n", s->fx.fcw, s->fx.fsw, s->fx.ftw,
	    s->fx.mxcsr);
}
