/* SPDX-License-Identifier: Apache-2.0 */
/* pci_test.c - configuration space, BAR decoding, MSI-X and INTx of a PCI function. */
#include "dev/tests/pcifunc.h"

/* --- configuration space ------------------------------------------------------------ */

static void ports_and_ecam_show_the_same_registers_at_every_width(void **state)
{
	struct fixture *x = *state;
	struct bus *pio = x->b.env.pio;

	bus_write(pio, 0xcf8, 0x80000000 | 5 << 11, 4);
	assert_int_equal(bus_read(pio, 0xcf8, 4), 0x80000000 | 5 << 11);
	assert_int_equal(bus_read(pio, 0xcfc, 4), 0x56781234);
	assert_int_equal(bus_read(pio, 0xcfe, 2), 0x5678);
	assert_int_equal(bus_read(pio, 0xcfd, 1), 0x12);
	assert_int_equal(cfg(x, 0, 4), 0x56781234);
	assert_int_equal(cfg(x, 3, 1), 0x56);
	assert_int_equal(mmio(x, PCI_ECAM_BASE + (5 << 15) + 8, 8) & 0xffffffff, 0x12345601);
	bus_write(pio, 0xcf8, 0x80000000 | 5 << 11 | 0x3c, 4);
	bus_write(pio, 0xcfc, 0x77, 1);
	assert_int_equal(cfg(x, 0x3c, 1), 0x77);
}

static void what_does_not_exist_reads_as_ones(void **state)
{
	struct fixture *x = *state;
	struct bus *pio = x->b.env.pio;

	assert_int_equal(vcfg_read(&x->b, 6, 0, 4), 0xffffffff);
	assert_int_equal(mmio(x, PCI_ECAM_BASE + (5 << 15 | 1 << 12), 4), 0xffffffff);
	assert_int_equal(mmio(x, PCI_ECAM_BASE + (1 << 20 | 5 << 15), 4), 0xffffffff);
	bus_write(pio, 0xcf8, 5 << 11, 4); /* not enabled */
	assert_int_equal(bus_read(pio, 0xcfc, 4), 0xffffffff);
	bus_write(pio, 0xcf8, 0x80010000 | 5 << 11, 4); /* bus 1 */
	assert_int_equal(bus_read(pio, 0xcfc, 4), 0xffffffff);
	bus_write(pio, 0xcf8, 0x80000000 | 5 << 11 | 2 << 8, 4); /* function 2 */
	assert_int_equal(bus_read(pio, 0xcfc, 4), 0xffffffff);
}

static void a_byte_written_to_the_address_port_changes_nothing(void **state)
{
	struct fixture *x = *state;

	bus_write(x->b.env.pio, 0xcf8, 0x80000000, 4);
	bus_write(x->b.env.pio, 0xcfb, 1, 1);
	bus_write(x->b.env.pio, 0xcf8, 0xffff, 2);
	assert_int_equal(bus_read(x->b.env.pio, 0xcf8, 4), 0x80000000);
}

static void the_bridge_is_the_first_function(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(vcfg_read(&x->b, 0, 8, 4) >> 16, 0x0600);
}

static void identity_is_read_only(void **state)
{
	struct fixture *x = *state;

	for (unsigned off = 0; off < 0x10; off += 4)
		if (off != 4 && off != 0xc)
			put(x, off, 0xffffffff, 4);
	assert_int_equal(cfg(x, 0, 4), 0x56781234);
	assert_int_equal(cfg(x, 8, 4), 0x12345601);
	put(x, 0x34, 0, 1);
	assert_true(cfg(x, 0x34, 1) >= 0x40);
}

static void capabilities_end_and_include_pcie_and_msix(void **state)
{
	struct fixture *x = *state;
	unsigned pcie = find_cap(x, 0x10), msix = find_cap(x, 0x11);

	assert_true(pcie && msix);
	assert_int_equal(cfg(x, pcie + 2, 2) >> 4 & 0xf, 9); /* integrated endpoint */
	assert_int_equal(cfg(x, msix + 2, 2), VECTORS - 1);
	assert_int_equal(cfg(x, msix + 4, 4), 0x1000 | BAR_A);
	assert_int_equal(cfg(x, 0x100, 4), 0); /* no extended ones */
}

/* --- BARs ------------------------------------------------------------------------------ */

static void bars_are_assigned_and_decode_from_the_start(void **state)
{
	struct fixture *x = *state;
	uint64_t a = cfg(x, 0x10, 4), b = cfg(x, 0x18, 4) | (uint64_t)cfg(x, 0x1c, 4) << 32;

	assert_int_equal(a & 0xf, 0);
	assert_int_equal(b & 0xf, 0xc); /* 64-bit, prefetchable */
	assert_true(a >= PCI_MMIO32_BASE && a < PCI_MMIO32_BASE + PCI_MMIO32_SIZE);
	assert_true(b >= PCI_MMIO64_BASE);
	assert_int_equal(mmio(x, a + 8, 4), 8);
	assert_int_equal(mmio(x, (b & ~0xfULL) + 0x10, 4), 0x2010);
}

static void a_bar_of_all_ones_shows_its_size_and_decodes_nothing(void **state)
{
	struct fixture *x = *state;
	uint32_t a = cfg(x, 0x10, 4);

	put(x, 0x10, 0xffffffff, 4);
	assert_int_equal(cfg(x, 0x10, 4), ~(SIZE_A - 1u));
	assert_int_equal(mmio(x, a + 8, 4), 0xffffffff);
	put(x, 0x10, a, 4);
	assert_int_equal(mmio(x, a + 8, 4), 8);
	put(x, 0x18, 0xffffffff, 4);
	put(x, 0x1c, 0xffffffff, 4);
	assert_int_equal(cfg(x, 0x18, 4), ~(SIZE_B - 1u) | 0xc);
	assert_int_equal(cfg(x, 0x1c, 4), 0xffffffff);
	assert_int_equal(cfg(x, 0x14, 4), 0); /* no BAR there */
}

static void a_bar_moves_with_its_register(void **state)
{
	struct fixture *x = *state;
	uint32_t a = cfg(x, 0x10, 4), to = PCI_MMIO32_BASE + 0x1000000;
	unsigned moves = x->f->moves;

	put(x, 0x10, to, 4);
	assert_int_equal(mmio(x, a + 8, 4), 0xffffffff);
	assert_int_equal(mmio(x, to + 8, 4), 8);
	assert_true(x->f->moves > moves);
	bus_write(x->b.env.mmio, to + 0x20, 99, 4);
	assert_int_equal(x->f->last_write, 99);
	assert_int_equal(x->f->last_off, 0x20);
}

static void memory_enable_switches_decoding(void **state)
{
	struct fixture *x = *state;
	uint32_t a = cfg(x, 0x10, 4);

	put(x, 4, 0, 2);
	assert_int_equal(mmio(x, a + 8, 4), 0xffffffff);
	put(x, 4, 2, 2);
	assert_int_equal(mmio(x, a + 8, 4), 8);
}

static void a_bar_never_decodes_outside_the_windows(void **state)
{
	static const uint64_t bad[] = {
		0,	       /* RAM */
		0x100000,      /* RAM */
		VB_RAM2_BASE,  /* RAM */
		PCI_ECAM_BASE, /* ECAM */
		0xfec00000,    /* IOAPIC */
		0xfee00000,    /* local APIC */
		PCI_MMIO32_BASE - SIZE_A,
		PCI_MMIO32_BASE + PCI_MMIO32_SIZE,
	};
	struct fixture *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put(x, 0x10, (uint32_t)bad[i], 4);
		assert_false(x->f->pci.bar[BAR_A].mapped);
		put(x, 0x18, (uint32_t)bad[i], 4);
		put(x, 0x1c, 0, 4);
		assert_false(x->f->pci.bar[BAR_B].mapped);
	}
	put(x, 0x1c, 0xffffffff, 4);
	put(x, 0x18, 0xfff00000, 4);
	assert_false(x->f->pci.bar[BAR_B].mapped);
	assert_int_equal(vcfg_read(&x->b, 5, 0, 2), 0x1234); /* ECAM is still there */
}

static void a_64_bit_bar_may_be_put_below_4_gib(void **state)
{
	struct fixture *x = *state;

	put(x, 0x18, PCI_MMIO32_BASE + 0x2000000, 4);
	put(x, 0x1c, 0, 4);
	assert_int_equal(mmio(x, PCI_MMIO32_BASE + 0x2000004, 4), 0x2004);
}

static void of_two_bars_in_one_place_the_first_stays(void **state)
{
	struct fixture *x = *state;
	struct func *g = add_func(&x->b, -1);
	uint32_t a = cfg(x, 0x10, 4), g_home = vcfg_read(&x->b, 1, 0x10, 4);

	assert_int_equal(g->pci.devfn, 1 << 3); /* the lowest free slot */
	vcfg_write(&x->b, 1, 0x10, a, 4);
	bus_write(x->b.env.mmio, a, 7, 4);
	assert_int_equal(x->f->last_write, 7);
	assert_false(g->pci.bar[BAR_A].mapped);
	vcfg_write(&x->b, 1, 0x10, g_home, 4);
	bus_write(x->b.env.mmio, g_home, 8, 4);
	assert_int_equal(g->last_write, 8);
	dev_free(&g->pci.dev);
}

static void a_taken_slot_is_refused(void **state)
{
	struct fixture *x = *state;
	struct func_config c = {vfx_host(&x->b), 5};
	struct errbuf err = {0};
	struct device *dev;

	assert_true(dev_new(&func_ops, &x->b.env, "f", 0, &c, &dev, &err) < 0);
	assert_non_null(strstr(err.msg, "slot 5"));
}

static void a_reset_restores_bars_and_command(void **state)
{
	struct fixture *x = *state;
	uint32_t a = cfg(x, 0x10, 4), cmd = cfg(x, 4, 2);

	put(x, 0x10, PCI_MMIO32_BASE + 0x1000000, 4);
	put(x, 4, 0, 2);
	dev_reset(&x->f->pci.dev);
	assert_int_equal(cfg(x, 0x10, 4), a);
	assert_int_equal(cfg(x, 4, 2), cmd);
	assert_int_equal(mmio(x, a + 8, 4), 8);
}

/* --- MSI-X -------------------------------------------------------------------------------- */

static void program(struct fixture *x, unsigned n, uint32_t data, uint32_t mask)
{
	uint64_t e = cfg(x, 0x10, 4) + 0x1000 + n * 16;

	bus_write(x->b.env.mmio, e, 0xfee01000, 8);
	bus_write(x->b.env.mmio, e + 8, data, 4);
	bus_write(x->b.env.mmio, e + 12, mask, 4);
}

static void enable_msix(struct fixture *x, uint32_t ctrl)
{
	put(x, find_cap(x, 0x11) + 2, ctrl, 2);
}

static uint64_t pending(struct fixture *x)
{
	return mmio(x, cfg(x, 0x10, 4) + 0x2000, 8);
}

static void an_enabled_vector_sends_its_message(void **state)
{
	struct fixture *x = *state;

	program(x, 1, 0x41, 0);
	pci_msix_notify(&x->f->pci, 1);
	assert_int_equal(vboard_msis(&x->b, 0x41), 0); /* not enabled yet: lost */
	enable_msix(x, 0x8000);
	pci_msix_notify(&x->f->pci, 1);
	assert_int_equal(vboard_msis(&x->b, 0x41), 1);
	pci_msix_notify(&x->f->pci, VECTORS); /* beyond the table */
	assert_int_equal(pending(x), 0);
}

static void a_masked_vector_is_pending_until_unmasked(void **state)
{
	struct fixture *x = *state;

	program(x, 2, 0x42, 1);
	enable_msix(x, 0x8000);
	pci_msix_notify(&x->f->pci, 2);
	pci_msix_notify(&x->f->pci, 2);
	assert_int_equal(vboard_msis(&x->b, 0x42), 0);
	assert_int_equal(pending(x), 4);
	program(x, 2, 0x42, 0);
	assert_int_equal(vboard_msis(&x->b, 0x42), 1);
	assert_int_equal(pending(x), 0);
}

static void the_function_mask_holds_all_vectors(void **state)
{
	struct fixture *x = *state;

	program(x, 0, 0x40, 0);
	program(x, 1, 0x41, 0);
	enable_msix(x, 0xc000);
	pci_msix_notify(&x->f->pci, 0);
	pci_msix_notify(&x->f->pci, 1);
	assert_int_equal(pending(x), 3);
	enable_msix(x, 0x8000);
	assert_int_equal(vboard_msis(&x->b, 0x40) + vboard_msis(&x->b, 0x41), 2);
}

static void the_table_reads_back_and_ignores_odd_accesses(void **state)
{
	struct fixture *x = *state;
	uint64_t t = cfg(x, 0x10, 4) + 0x1000;

	program(x, 1, 0x12345678, 1);
	assert_int_equal(mmio(x, t + 16, 8), 0xfee01000);
	assert_int_equal(mmio(x, t + 24, 8), 0x100000000 | 0x12345678);
	bus_write(x->b.env.mmio, t + 24, 0xff, 1);
	bus_write(x->b.env.mmio, t + 26, 0xffffffff, 4);
	bus_write(x->b.env.mmio, t + 20, ~0ULL, 8);
	assert_int_equal(mmio(x, t + 24, 4), 0x12345678);
	bus_write(x->b.env.mmio, cfg(x, 0x10, 4) + 0x2000, ~0ULL, 8); /* the PBA is read-only */
	assert_int_equal(pending(x), 0);
}

/* --- INTx ------------------------------------------------------------------------------------ */

static void functions_on_one_gsi_share_its_wire(void **state)
{
	struct fixture *x = *state;
	struct func *g = add_func(&x->b, 9); /* slot 9 and slot 5: GSI 17 */

	pci_intx_set(&x->f->pci, true);
	pci_intx_set(&g->pci, true);
	assert_true(vboard_line(&x->b, 17));
	assert_int_equal(cfg(x, 6, 2) & 8, 8);
	pci_intx_set(&x->f->pci, false);
	assert_true(vboard_line(&x->b, 17));
	vcfg_write(&x->b, 9, 4, 0x402, 2); /* Interrupt Disable */
	assert_false(vboard_line(&x->b, 17));
	vcfg_write(&x->b, 9, 4, 2, 2);
	assert_true(vboard_line(&x->b, 17));
	dev_reset(&g->pci.dev);
	assert_false(vboard_line(&x->b, 17));
	dev_free(&g->pci.dev);
}

/* --- state ------------------------------------------------------------------------------------ */

static void a_saved_function_is_where_and_as_it_was(void **state)
{
	struct fixture *x = *state;
	uint32_t to = PCI_MMIO32_BASE + 0x3000000;
	struct errbuf err = {0};

	put(x, 0x10, to, 4);
	program(x, 1, 0x41, 1);
	enable_msix(x, 0x8000);
	pci_msix_notify(&x->f->pci, 1);
	pci_intx_set(&x->f->pci, true);
	assert_int_equal(vfx_transplant(&x->f->pci.dev, &x->f->pci.dev, &err), 0);
	assert_int_equal(mmio(x, to + 8, 4), 8);
	assert_int_equal(pending(x), 2);
	assert_true(vboard_line(&x->b, 17));
	program(x, 1, 0x41, 0);
	assert_int_equal(vboard_msis(&x->b, 0x41), 1);
}

static void two_functions_that_swapped_places_load_in_any_order(void **state)
{
	struct fixture *x = *state;
	struct func *g = add_func(&x->b, 6);
	uint32_t a = cfg(x, 0x10, 4), c = vcfg_read(&x->b, 6, 0x10, 4);
	struct record_buf rf = {0}, rg = {0};
	struct errbuf err = {0};

	put(x, 4, 0, 2);
	put(x, 0x10, c, 4);
	vcfg_write(&x->b, 6, 0x10, a, 4);
	put(x, 4, 6, 2);
	assert_int_equal(record_save(&rf, &func_state, 0, x->f), 0);
	assert_int_equal(record_save(&rg, &func_state, 0, g), 0);
	dev_reset(&x->f->pci.dev);
	dev_reset(&g->pci.dev);
	assert_int_equal(record_load(rf.data, rf.len, &func_state, 0, x->f, &err), 0);
	assert_int_equal(record_load(rg.data, rg.len, &func_state, 0, g, &err), 0);
	func_resume(&x->f->pci.dev);
	func_resume(&g->pci.dev);
	bus_write(x->b.env.mmio, c, 1, 4);
	bus_write(x->b.env.mmio, a, 2, 4);
	assert_int_equal(x->f->last_write, 1);
	assert_int_equal(g->last_write, 2);
	record_buf_fini(&rf);
	record_buf_fini(&rg);
	dev_free(&g->pci.dev);
}

static void a_state_that_changes_the_identity_is_refused(void **state)
{
	struct fixture *x = *state;
	struct record_buf rec = {0};
	struct errbuf err = {0};

	x->f->pci.cfg[2] ^= 1;
	assert_int_equal(record_save(&rec, &func_state, 0, x->f), 0);
	x->f->pci.cfg[2] ^= 1;
	assert_true(record_load(rec.data, rec.len, &func_state, 0, x->f, &err) < 0);
	assert_non_null(strstr(err.msg, "does not fit"));
	assert_int_equal(cfg(x, 0, 4), 0x56781234);
	record_buf_fini(&rec);
}

static void the_bridge_keeps_its_address_register(void **state)
{
	struct fixture *x = *state;
	const struct state_desc *desc = x->b.host->ops->state;
	struct record_buf rec = {0};
	struct errbuf err = {0};

	bus_write(x->b.env.pio, 0xcf8, 0x80002800, 4);
	assert_int_equal(record_save(&rec, desc, 0, x->b.host), 0);
	dev_reset(x->b.host);
	assert_int_equal(bus_read(x->b.env.pio, 0xcf8, 4), 0);
	assert_int_equal(record_load(rec.data, rec.len, desc, 0, x->b.host, &err), 0);
	assert_int_equal(bus_read(x->b.env.pio, 0xcf8, 4), 0x80002800);
	record_buf_fini(&rec);
}

/* --- messages through an eventfd, as KVM's controllers have it ----------------------------------
 */

struct kchip {
	struct irqchip chip;
	int fd[8];
	struct msi msi[8];
	unsigned nroutes, sent;
};

static void kchip_line(struct irqchip *chip, unsigned gsi, bool level)
{
}

static void kchip_send(struct irqchip *chip, struct msi msi)
{
	container_of(chip, struct kchip, chip)->sent++;
}

static int kchip_route(struct irqchip *chip, struct msi msi, int eventfd, int *route)
{
	struct kchip *k = container_of(chip, struct kchip, chip);

	if (k->nroutes == ARRAY_SIZE(k->fd))
		return -1;
	k->fd[k->nroutes] = eventfd;
	k->msi[k->nroutes] = msi;
	*route = (int)k->nroutes++;
	return 0;
}

static void kchip_unroute(struct irqchip *chip, int route, int eventfd)
{
	struct kchip *k = container_of(chip, struct kchip, chip);

	assert_int_equal(k->fd[route], eventfd);
	k->fd[route] = -1;
}

static void with_a_kernel_irqchip_messages_go_through_an_eventfd(void **state)
{
	static const struct irqchip_ops ops = {.set_line = kchip_line,
					       .send_msi = kchip_send,
					       .msi_route = kchip_route,
					       .msi_unroute = kchip_unroute};
	struct kchip k = {.chip.ops = &ops};
	struct fixture *x = *state;
	struct func *g;
	uint64_t n, bar;

	x->b.env.irqchip = &k.chip;
	g = add_func(&x->b, 7);
	bar = vcfg_read(&x->b, 7, 0x10, 4) + 0x1000;
	bus_write(x->b.env.mmio, bar, 0xfee00000, 8);
	bus_write(x->b.env.mmio, bar + 8, 0x55, 8);
	vcfg_write(&x->b, 7, g->pci.msix_cap + 2u, 0x8000, 2);
	assert_int_equal(k.nroutes, 1);
	assert_int_equal(k.msi[0].data, 0x55);
	pci_msix_notify(&g->pci, 0);
	assert_int_equal(read(k.fd[0], &n, 8), 8);
	assert_int_equal(k.sent, 0);
	bus_write(x->b.env.mmio, bar + 8, 0x100000055, 8); /* masked: the route stays */
	bus_write(x->b.env.mmio, bar + 8, 0x55, 8);
	assert_int_equal(k.nroutes, 1);
	bus_write(x->b.env.mmio, bar + 8, 0x56, 4); /* another message, another route */
	assert_int_equal(k.nroutes, 2);
	assert_int_equal(k.fd[0], -1);
	dev_free(&g->pci.dev);
	assert_int_equal(k.fd[1], -1);
	x->b.env.irqchip = &x->b.chip;
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ports_and_ecam_show_the_same_registers_at_every_width),
		T(what_does_not_exist_reads_as_ones),
		T(a_byte_written_to_the_address_port_changes_nothing),
		T(the_bridge_is_the_first_function),
		T(identity_is_read_only),
		T(capabilities_end_and_include_pcie_and_msix),
		T(bars_are_assigned_and_decode_from_the_start),
		T(a_bar_of_all_ones_shows_its_size_and_decodes_nothing),
		T(a_bar_moves_with_its_register),
		T(memory_enable_switches_decoding),
		T(a_bar_never_decodes_outside_the_windows),
		T(a_64_bit_bar_may_be_put_below_4_gib),
		T(of_two_bars_in_one_place_the_first_stays),
		T(a_taken_slot_is_refused),
		T(a_reset_restores_bars_and_command),
		T(an_enabled_vector_sends_its_message),
		T(a_masked_vector_is_pending_until_unmasked),
		T(the_function_mask_holds_all_vectors),
		T(the_table_reads_back_and_ignores_odd_accesses),
		T(functions_on_one_gsi_share_its_wire),
		T(a_saved_function_is_where_and_as_it_was),
		T(two_functions_that_swapped_places_load_in_any_order),
		T(a_state_that_changes_the_identity_is_refused),
		T(the_bridge_keeps_its_address_register),
		T(with_a_kernel_irqchip_messages_go_through_an_eventfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
