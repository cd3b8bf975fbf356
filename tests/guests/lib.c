/* SPDX-License-Identifier: Apache-2.0 */
/* lib.c - see guest.h. */
#include "guest.h"

struct gate {
	uint16_t off0, sel;
	uint8_t ist, type;
	uint16_t off1;
	uint32_t off2, zero;
};

extern uint32_t multiboot_info;
static struct gate idt[256];
static void (*handlers[256])(struct frame *f);

__attribute__((weak)) void ap_main(void)
{
}

void guest_exit(int status)
{
	/* the host sees (status << 1) | 1: write so that success is 1 */
	outb(0xf4, (uint8_t)status);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void print(const char *s)
{
	for (; *s; s++) {
		while (!(inb(0x3fd) & 0x20))
			;
		outb(0x3f8, (uint8_t)*s);
	}
}

void print_hex(uint64_t v)
{
	char buf[19] = "0x";
	int n = 2;

	for (int shift = 60; shift >= 0; shift -= 4) {
		unsigned digit = v >> shift & 15;

		if (digit || n > 2 || !shift)
			buf[n++] = "0123456789abcdef"[digit];
	}
	buf[n] = 0;
	print(buf);
}

void print_line(const char *name, uint64_t v)
{
	print(name);
	print(" ");
	print_hex(v);
	print("\n");
}

/* Does @at begin with "@name="?  Then what follows, else NULL. */
static const char *value_of(const char *at, const char *name)
{
	for (; *name; name++, at++)
		if (*at != *name)
			return NULL;
	return *at == '=' ? at + 1 : NULL;
}

unsigned guest_option(const char *name, unsigned otherwise)
{
	const uint32_t *info = (const uint32_t *)(uintptr_t)multiboot_info;
	const char *line = (const char *)(uintptr_t)info[4], *value = NULL;
	unsigned n = 0;

	if (!(info[0] & 4)) /* no command line */
		return otherwise;
	for (; *line && !value; line++)
		value = value_of(line, name);
	if (!value)
		return otherwise;
	while (*value >= '0' && *value <= '9')
		n = n * 10 + (unsigned)(*value++ - '0');
	return n;
}

void check(bool ok, const char *what)
{
	if (ok)
		return;
	print("FAILED: ");
	print(what);
	print("\n");
	guest_exit(1);
}

__attribute__((weak)) void user_interrupt(struct frame *f)
{
	(void)f;
}

void interrupt(struct frame *f)
{
	if (f->cs & 3) {
		user_interrupt(f);
		return;
	}
	if (handlers[f->vector]) {
		handlers[f->vector](f);
		return;
	}
	print("unexpected vector ");
	print_hex(f->vector);
	print_line(" error", f->error);
	print_line("rip", f->rip);
	guest_exit(2);
}

void idt_set(unsigned vec, void (*fn)(struct frame *f))
{
	handlers[vec] = fn;
}

void idt_set_ist(unsigned vec, unsigned ist)
{
	idt[vec].ist = (uint8_t)ist;
}

void idt_set_dpl(unsigned vec, unsigned dpl)
{
	idt[vec].type = (uint8_t)(0x8e | dpl << 5);
}

void idt_present(unsigned vec, bool present)
{
	idt[vec].type = (uint8_t)((idt[vec].type & 0x7f) | (present ? 0x80 : 0));
}

void idt_init(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) ptr = {sizeof(idt) - 1, (uint64_t)idt};

	for (unsigned i = 0; i < 256; i++)
		idt[i] = (struct gate){(uint16_t)stub_table[i],
				       8,
				       0,
				       0x8e,
				       (uint16_t)(stub_table[i] >> 16),
				       (uint32_t)(stub_table[i] >> 32),
				       0};
	__asm__ volatile("lidt %0" ::"m"(ptr));
	/* the PIC's interrupts move out of the way and are masked */
	outb(0x20, 0x11);
	outb(0xa0, 0x11);
	outb(0x21, 0x20);
	outb(0xa1, 0x28);
	outb(0x21, 4);
	outb(0xa1, 2);
	outb(0x21, 1);
	outb(0xa1, 1);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

void *memset(void *p, int c, size_t n)
{
	for (uint8_t *b = p; n--;)
		*b++ = (uint8_t)c;
	return p;
}

void *memcpy(void *to, const void *from, size_t n)
{
	uint8_t *t = to;

	for (const uint8_t *f = from; n--;)
		*t++ = *f++;
	return to;
}
