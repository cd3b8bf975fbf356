/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_test.c - the transport, with the entropy device behind it: discovery,
 * negotiation, notifications, interrupts, the dirty log and saved state.
 */
#include "dev/tests/vrng.h"

/* --- discovery and negotiation ------------------------------------------------------- */

static void the_device_is_a_modern_virtio_function(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(vcfg_read(&x->b, 1, 0, 4), 0x10441af4);
	assert_true(vcfg_read(&x->b, 1, 8, 1) >= 1);
	assert_int_equal(x->d.notify_mult, 4);
	assert_int_equal(vdrv_read(&x->d, VC_NUM_QUEUES, 2), 1);
	assert_int_equal(vdrv_device_features(&x->d) >> 32 & 1, 1);
}

static void features_not_offered_are_refused(void **state)
{
	struct fixture *x = *state;

	vdrv_write(&x->d, VC_STATUS, 0, 1);
	vdrv_write(&x->d, VC_STATUS, VS_ACK | VS_DRIVER, 1);
	vdrv_write(&x->d, VC_DRIVER_FEATURE_SELECT, 1, 4);
	vdrv_write(&x->d, VC_DRIVER_FEATURE, 0x80000001, 4);
	vdrv_write(&x->d, VC_STATUS, VS_ACK | VS_DRIVER | VS_FEATURES_OK, 1);
	assert_int_equal(status(x), VS_ACK | VS_DRIVER);
	/* mended, it is accepted */
	vdrv_write(&x->d, VC_DRIVER_FEATURE, 1, 4);
	vdrv_write(&x->d, VC_STATUS, VS_ACK | VS_DRIVER | VS_FEATURES_OK, 1);
	assert_true(status(x) & VS_FEATURES_OK);
	/* and final */
	vdrv_write(&x->d, VC_DRIVER_FEATURE, 0, 4);
	assert_int_equal(vdrv_read(&x->d, VC_DRIVER_FEATURE, 4), 1);
}

static void a_driver_without_version_1_is_not_served(void **state)
{
	struct fixture *x = *state;

	assert_false(vdrv_negotiate(&x->d, VIRTIO_F_EVENT_IDX));
	vdrv_queue(&x->d, 0, 16);
	vdrv_write(&x->d, VC_STATUS, VS_ACK | VS_DRIVER | VS_DRIVER_OK, 1);
	assert_int_equal(status(x) & VS_DRIVER_OK, 0);
	post(x, 16);
	vdrv_kick(&x->d, 0);
	vboard_settle(&x->b);
	assert_int_equal(*(uint16_t *)vboard_ram(&x->b, x->d.q[0].used + 2), 0);
}

static void feature_words_beyond_the_second_are_empty(void **state)
{
	struct fixture *x = *state;

	vdrv_write(&x->d, VC_DEVICE_FEATURE_SELECT, 2, 4);
	assert_int_equal(vdrv_read(&x->d, VC_DEVICE_FEATURE, 4), 0);
	vdrv_write(&x->d, VC_DEVICE_FEATURE_SELECT, 0xffffffff, 4);
	assert_int_equal(vdrv_read(&x->d, VC_DEVICE_FEATURE, 4), 0);
	vdrv_write(&x->d, VC_DRIVER_FEATURE_SELECT, 77, 4);
	vdrv_write(&x->d, VC_DRIVER_FEATURE, 0xffffffff, 4);
	assert_int_equal(vd_of(x)->features, 0);
}

static void queues_that_do_not_exist_have_size_0(void **state)
{
	struct fixture *x = *state;

	vdrv_write(&x->d, VC_QUEUE_SELECT, 1, 2);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_SIZE, 2), 0);
	vdrv_write(&x->d, VC_QUEUE_SELECT, 0xffff, 2);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_SIZE, 2), 0);
	vdrv_write(&x->d, VC_QUEUE_ENABLE, 1, 2);
	vdrv_write(&x->d, VC_QUEUE_SIZE, 16, 2);
	vdrv_write(&x->d, VC_QUEUE_DESC, 0x1000, 4);
	works((start(x, FEATURES_BASIC), x));
}

static void bad_queue_sizes_are_ignored(void **state)
{
	static const uint16_t bad[] = {0, 3, 65, 128, 32768, 65535};
	struct fixture *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		vdrv_write(&x->d, VC_QUEUE_SIZE, bad[i], 2);
		assert_int_equal(vdrv_read(&x->d, VC_QUEUE_SIZE, 2), 64);
	}
}

static void an_enabled_queue_cannot_change(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_BASIC);
	vdrv_write(&x->d, VC_QUEUE_SIZE, 8, 2);
	vdrv_write(&x->d, VC_QUEUE_DESC, 0x5000, 4);
	vdrv_write(&x->d, VC_QUEUE_ENABLE, 0, 2);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_SIZE, 2), 16);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_DESC, 8), x->d.q[0].desc);
	works(x);
}

static void addresses_take_halves_and_wholes(void **state)
{
	struct fixture *x = *state;

	vdrv_write(&x->d, VC_QUEUE_DESC, 0x1122334455667780, 8);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_DESC, 8), 0x1122334455667780);
	vdrv_write(&x->d, VC_QUEUE_DESC + 4, 0xaabbccdd, 4);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_DESC, 8), 0xaabbccdd55667780);
	vdrv_write(&x->d, VC_QUEUE_DESC + 2, 0xffff, 2);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_DESC, 8), 0xaabbccdd55667780);
}

static void a_queue_enabled_late_is_served(void **state)
{
	struct fixture *x = *state;

	assert_true(vdrv_negotiate(&x->d, FEATURES_BASIC));
	vdrv_go(&x->d);
	vdrv_queue(&x->d, 0, 16);
	works(x);
}

static void reset_brings_power_on_values_back(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_ALL);
	works(x);
	vdrv_write(&x->d, VC_STATUS, 0, 1);
	assert_int_equal(status(x), 0);
	vdrv_write(&x->d, VC_QUEUE_SELECT, 0, 2);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_SIZE, 2), 64);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_ENABLE, 2), 0);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_VECTOR, 2), NO_VECTOR);
	assert_int_equal(vdrv_read(&x->d, VC_CONFIG_VECTOR, 2), NO_VECTOR);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_DESC, 8), 0);
	start(x, FEATURES_BASIC);
	works(x);
}

static void a_vector_that_does_not_exist_is_none(void **state)
{
	struct fixture *x = *state;

	vdrv_write(&x->d, VC_CONFIG_VECTOR, 1, 2);
	assert_int_equal(vdrv_read(&x->d, VC_CONFIG_VECTOR, 2), 1);
	vdrv_write(&x->d, VC_CONFIG_VECTOR, 2, 2);
	assert_int_equal(vdrv_read(&x->d, VC_CONFIG_VECTOR, 2), NO_VECTOR);
	vdrv_write(&x->d, VC_QUEUE_VECTOR, 100, 2);
	assert_int_equal(vdrv_read(&x->d, VC_QUEUE_VECTOR, 2), NO_VECTOR);
}

/* --- the window in configuration space ------------------------------------------------- */

static void registers_are_reachable_through_the_configuration_window(void **state)
{
	struct fixture *x = *state;
	unsigned cap = vd_of(x)->pci_cfg_cap;

	assert_int_equal(vcfg_read(&x->b, 1, cap + 3, 1), 5);
	vcfg_write(&x->b, 1, cap + 4, 0, 1);
	vcfg_write(&x->b, 1, cap + 8, VC_STATUS, 4);
	vcfg_write(&x->b, 1, cap + 12, 1, 4);
	vcfg_write(&x->b, 1, cap + 16, VS_ACK, 1);
	assert_int_equal(status(x), VS_ACK);
	assert_int_equal(vcfg_read(&x->b, 1, cap + 16, 4) & 0xff, VS_ACK);
	vcfg_write(&x->b, 1, cap + 8, VC_QUEUE_SIZE, 4);
	vcfg_write(&x->b, 1, cap + 12, 2, 4);
	assert_int_equal(vcfg_read(&x->b, 1, cap + 16, 2), 64);
	/* nonsense is not carried out */
	vcfg_write(&x->b, 1, cap + 12, 3, 4);
	vcfg_write(&x->b, 1, cap + 16, 0, 4);
	vcfg_write(&x->b, 1, cap + 12, 4, 4);
	vcfg_write(&x->b, 1, cap + 8, 0xfffffffc, 4);
	vcfg_read(&x->b, 1, cap + 16, 4);
	vcfg_write(&x->b, 1, cap + 8, VC_STATUS, 4);
	vcfg_write(&x->b, 1, cap + 4, 3, 1);
	vcfg_write(&x->b, 1, cap + 16, 0, 4);
	assert_int_equal(status(x), VS_ACK);
}

/* --- notifications and interrupts -------------------------------------------------------- */

static void without_msix_the_pin_and_isr_tell(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_BASIC);
	vdrv_msix(&x->d, 0);
	works(x);
	vboard_settle(&x->b);
	assert_true(vboard_line(&x->b, 17));
	assert_int_equal(bus_read(x->b.env.mmio, x->d.isr, 1), 1);
	assert_false(vboard_line(&x->b, 17));
	assert_int_equal(bus_read(x->b.env.mmio, x->d.isr, 1), 0);
	works(x);
	vboard_settle(&x->b);
	vdrv_write(&x->d, VC_STATUS, 0, 1);
	assert_false(vboard_line(&x->b, 17));
}

static void the_driver_can_ask_for_no_interrupts(void **state)
{
	struct fixture *x = *state;

	start(x, FEATURES_BASIC);
	*(uint16_t *)vboard_ram(&x->b, x->d.q[0].avail) = 1;
	works(x);
	vboard_settle(&x->b);
	assert_int_equal(vboard_msis(&x->b, 0x21), 0);
	*(uint16_t *)vboard_ram(&x->b, x->d.q[0].avail) = 0;
	works(x);
	vfx_wait_msi(&x->b, 0x21, 1);
}

static void event_idx_delays_interrupts_to_the_one_asked_for(void **state)
{
	struct fixture *x = *state;
	struct vqueue *q = &x->d.q[0];

	start(x, FEATURES_ALL);
	works(x); /* the first always interrupts */
	vfx_wait_msi(&x->b, 0x21, 1);
	*(uint16_t *)vboard_ram(&x->b, q->avail + 4 + 2 * q->size) = 4;
	for (unsigned i = 0; i < 3; i++) {
		post(x, 8);
		vdrv_kick(&x->d, 0);
		vboard_settle(&x->b);
	}
	assert_int_equal(vboard_msis(&x->b, 0x21), 1); /* used index 4 */
	post(x, 8);
	vdrv_kick(&x->d, 0);
	vfx_wait_msi(&x->b, 0x21, 2); /* 5: passed the event */
}

static void an_idle_queue_asks_to_be_kicked(void **state)
{
	struct fixture *x = *state;
	struct vqueue *q = &x->d.q[0];

	start(x, FEATURES_ALL);
	works(x);
	vboard_settle(&x->b);
	assert_int_equal(*(uint16_t *)vboard_ram(&x->b, q->used + 4 + 8 * q->size), 1);
	start(x, FEATURES_BASIC);
	works(x);
	vboard_settle(&x->b);
	assert_int_equal(*(uint16_t *)vboard_ram(&x->b, x->d.q[0].used), 0);
}

static void indices_wrap_round(void **state)
{
	struct fixture *x = *state;

	for (unsigned k = 0; k < 2; k++) {
		x->d.next_gpa = 0x100000;
		start(x, k ? FEATURES_ALL : FEATURES_BASIC);
		for (unsigned i = 0; i < 66000; i++) {
			uint16_t head = post(x, 1);

			vdrv_kick(&x->d, 0);
			assert_int_equal(vfx_used(&x->d, 0, head), 1);
			/* the bucket would make us wait */
			if (i % 50000 == 0)
				vboard_settle(&x->b);
		}
	}
}

static void without_bus_mastering_rings_are_not_touched(void **state)
{
	struct fixture *x = *state;
	uint16_t head;

	start(x, FEATURES_ALL);
	vcfg_write(&x->b, 1, 4, 2, 2);
	head = post(x, 16);
	vdrv_kick(&x->d, 0);
	vboard_settle(&x->b);
	assert_int_equal(*(uint16_t *)vboard_ram(&x->b, x->d.q[0].used + 2), 0);
	vcfg_write(&x->b, 1, 4, 6, 2);
	vfx_used(&x->d, 0, head);
}

/* --- dirty log -------------------------------------------------------------------------------- */

static void note_page(void *arg, gpa_t gpa, uint64_t bytes)
{
	bool *pages = arg;

	for (uint64_t p = gpa >> 12; p < (gpa + bytes) >> 12 && p < VB_RAM >> 12; p++)
		pages[p] = true;
}

static void what_the_device_writes_is_marked_dirty(void **state)
{
	static bool pages[VB_RAM >> 12];
	struct fixture *x = *state;

	memset(pages, 0, sizeof(pages));
	start(x, FEATURES_ALL);
	vboard_settle(&x->b);
	assert_int_equal(mem_log_start(x->b.env.mem), 0);
	works(x);
	vboard_settle(&x->b);
	mem_log_harvest(x->b.env.mem, note_page, pages);
	assert_true(pages[x->buf >> 12]);
	assert_true(pages[x->d.q[0].used >> 12]);
	assert_false(pages[(x->buf >> 12) + 1]);
	mem_log_stop(x->b.env.mem);
}

/* --- state --------------------------------------------------------------------------------------
 */

static void a_saved_device_goes_on_in_another_one(void **state)
{
	struct fixture *x = *state;
	struct virtio_rng_config c = {vfx_host(&x->b), vboard_loop(&x->b)};
	struct device *other = vfx_add(&x->b, &virtio_rng_ops, &c);
	struct errbuf err = {0};
	struct record_buf rec = {0};

	start(x, FEATURES_ALL);
	works(x);
	works(x);
	virtio_pause(x->dev);
	assert_int_equal(record_save(&rec, x->dev->ops->state, 0, x->dev), 0);
	dev_reset(x->dev);
	vcfg_write(&x->b, 1, 0x10, 0, 4); /* out of the way */
	assert_int_equal(record_load(rec.data, rec.len, other->ops->state, 0, other, &err), 0);
	virtio_resume(other);
	works(x); /* the driver notices nothing */
	vfx_wait_msi(&x->b, 0x21, 3);
	dev_free(other);
	record_buf_fini(&rec);
}

static void a_broken_device_stays_broken_when_saved(void **state)
{
	struct fixture *x = *state;
	struct errbuf err = {0};

	hostile(x);
	vdrv_avail(&x->d, 0, 99);
	vdrv_kick(&x->d, 0);
	assert_true(vdrv_wait_broken(&x->d));
	assert_int_equal(vfx_transplant(x->dev, x->dev, &err), 0);
	broke(x);
}

static void hostile_states_are_refused_and_harm_nobody(void **state)
{
	enum { QUEUE_SIZE, QUEUE_ADDR, QUEUE_BOOL, QUEUE_IDX, GHOST, FEATURES, STATUS, BROKEN, N };
	struct fixture *x = *state;
	struct virtio_dev *vd = vd_of(x);

	for (int i = 0; i < N; i++) {
		struct record_buf rec = {0};
		struct errbuf err = {0};
		struct virtio_dev good;

		x->d.next_gpa = 0x100000;
		start(x, FEATURES_ALL);
		works(x);
		virtio_pause(x->dev);
		memcpy(&good, vd, sizeof(good));
		switch (i) {
		case QUEUE_SIZE: vd->vq[0].size = 65535; break;
		case QUEUE_ADDR: vd->vq[0].used = ~0ULL; break;
		case QUEUE_BOOL: *(uint8_t *)&vd->vq[0].enabled = 2; break;
		case QUEUE_IDX: vd->vq[0].last_avail = (uint16_t)(vd->vq[0].used_idx + 17); break;
		case GHOST:
			vd->vq[9] = vd->vq[0];
			vd->vq[9].max_size = 0;
			break;
		case FEATURES: vd->features |= BIT(60); break;
		case STATUS: vd->status = 0xff; break;
		case BROKEN: *(uint8_t *)&vd->broken = 0x80; break;
		}
		assert_int_equal(record_save(&rec, x->dev->ops->state, 0, x->dev), 0);
		memcpy(vd, &good, sizeof(good));
		assert_true(record_load(rec.data, rec.len, x->dev->ops->state, 0, x->dev, &err) <
			    0);
		assert_true(err.msg[0]);
		record_buf_fini(&rec);
		virtio_resume(x->dev); /* whatever was loaded: nobody is harmed */
		vboard_settle(&x->b);
		dev_reset(x->dev);
	}
	start(x, FEATURES_ALL);
	works(x);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_device_is_a_modern_virtio_function),
		T(features_not_offered_are_refused),
		T(a_driver_without_version_1_is_not_served),
		T(feature_words_beyond_the_second_are_empty),
		T(queues_that_do_not_exist_have_size_0),
		T(bad_queue_sizes_are_ignored),
		T(an_enabled_queue_cannot_change),
		T(addresses_take_halves_and_wholes),
		T(a_queue_enabled_late_is_served),
		T(reset_brings_power_on_values_back),
		T(a_vector_that_does_not_exist_is_none),
		T(registers_are_reachable_through_the_configuration_window),
		T(without_msix_the_pin_and_isr_tell),
		T(the_driver_can_ask_for_no_interrupts),
		T(event_idx_delays_interrupts_to_the_one_asked_for),
		T(an_idle_queue_asks_to_be_kicked),
		T(indices_wrap_round),
		T(without_bus_mastering_rings_are_not_touched),
		T(what_the_device_writes_is_marked_dirty),
		T(a_saved_device_goes_on_in_another_one),
		T(a_broken_device_stays_broken_when_saved),
		T(hostile_states_are_refused_and_harm_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
