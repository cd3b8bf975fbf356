// SPDX-License-Identifier: Apache-2.0
/*
 * serial.c - 16550A UART.
 *
 * The line is infinitely fast: a byte written to THR is out at once, so THRE and
 * TEMT always read as set, and the "THR empty" interrupt is pending again as soon
 * as it was cleared by a write.  Received bytes come from the chardev into a FIFO of
 * 16 (1 with FIFOs off); the chardev is never given more than what fits.  Below the
 * trigger level the character time-out interrupt is raised at once.  OUT2 does not
 * gate the interrupt: small guests often leave it alone, and systems that use it
 * set it.
 *
 * Source: National Semiconductor PC16550D data sheet.
 */
#include <errno.h>

#include "base/thread.h"
#include "dev/devices.h"

enum { RBR = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7, NREGS = 8 };
enum { IER_RDA = 1, IER_THRE = 2, IER_RLS = 4, IER_MSI = 8, IER_ALL = 15 };
enum {
	IIR_NONE = 0x01,
	IIR_MSI = 0x00,
	IIR_THRE = 0x02,
	IIR_RDA = 0x04,
	IIR_RLS = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFO = 0xc0,
};
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 16, MCR_ALL = 31 };
enum { LSR_DR = 1, LSR_OE = 2, LSR_ERRORS = 0x1e, LSR_THRE = 0x20, LSR_TEMT = 0x40 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };
enum { FIFO_SIZE = 16 };

struct serial { /* dev.lock */
	struct device dev;
	struct chardev_client client;
	struct chardev *chr;
	struct irq_line irq;
	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
	uint16_t divisor;
	uint8_t fifo[FIFO_SIZE];
	uint8_t head, count;
	bool thre_pending; /* THR became empty and nobody was told yet */
};

static unsigned capacity(const struct serial *s)
{
	return s->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static unsigned trigger(const struct serial *s)
{
	static const uint8_t levels[4] = {1, 4, 8, 14};

	return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* The most urgent pending interrupt (table 5 of the data sheet). */
static uint8_t pending(const struct serial *s)
{
	if ((s->ier & IER_RLS) && (s->lsr & LSR_ERRORS))
		return IIR_RLS;
	if ((s->ier & IER_RDA) && s->count)
		return s->count >= trigger(s) ? IIR_RDA : IIR_TIMEOUT;
	if ((s->ier & IER_THRE) && s->thre_pending)
		return IIR_THRE;
	if ((s->ier & IER_MSI) && (s->msr & 0x0f))
		return IIR_MSI;
	return IIR_NONE;
}

static void update_irq(struct serial *s)
{
	irq_set(&s->irq, pending(s) != IIR_NONE);
}

/* --- receiving ----------------------------------------------------------------- */

static void push(struct serial *s, uint8_t byte)
{
	if (s->count >= capacity(s)) {
		s->lsr |= LSR_OE;
		return;
	}
	s->fifo[(s->head + s->count++) % FIFO_SIZE] = byte;
	s->lsr |= LSR_DR;
}

static uint8_t pop(struct serial *s)
{
	uint8_t byte = s->fifo[s->head];

	if (!s->count)
		return 0;
	s->head = (s->head + 1) % FIFO_SIZE;
	if (!--s->count)
		s->lsr &= (uint8_t)~LSR_DR;
	return byte;
}

static void clear_rx(struct serial *s)
{
	s->head = s->count = 0;
	s->lsr &= (uint8_t) ~(LSR_DR | LSR_ERRORS);
}

static size_t can_receive(struct chardev_client *client)
{
	struct serial *s = container_of(client, struct serial, client);
	LOCK_SCOPE(&s->dev.lock);

	if (s->mcr & MCR_LOOP)
		return 0; /* the input pin is disconnected */
	return capacity(s) - MIN((unsigned)s->count, capacity(s));
}

static void receive(struct chardev_client *client, const uint8_t *buf, size_t len)
{
	struct serial *s = container_of(client, struct serial, client);
	LOCK_SCOPE(&s->dev.lock);

	for (size_t i = 0; i < len; i++)
		push(s, buf[i]);
	update_irq(s);
}

static void accept_more(struct serial *s)
{
	if (s->chr && !(s->mcr & MCR_LOOP))
		chardev_accept(s->chr);
}

/* --- registers -------------------------------------------------------------------- */

static void transmit(struct serial *s, uint8_t byte)
{
	if (s->mcr & MCR_LOOP)
		push(s, byte);
	else if (s->chr)
		chardev_write(s->chr, &byte, 1);
	s->thre_pending = true;
}

static void write_fcr(struct serial *s, uint8_t val)
{
	if ((val ^ s->fcr) & FCR_ENABLE)
		val |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	s->fcr = val & (FCR_ENABLE | 0xc8);
	if (val & FCR_CLEAR_RX) {
		clear_rx(s);
		accept_more(s);
	}
	if (val & FCR_CLEAR_TX)
		s->thre_pending = true;
}

/* Modem inputs: always connected, or the outputs in loop-back mode. */
static uint8_t modem_inputs(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void write_mcr(struct serial *s, uint8_t val)
{
	uint8_t was = s->msr & 0xf0, now, changed;

	s->mcr = val & MCR_ALL;
	now = modem_inputs(s);
	changed = was ^ now;
	/* RI's delta is its trailing edge only */
	if (now & MSR_RI)
		changed &= (uint8_t)~MSR_RI;
	s->msr = now | (s->msr & 0x0f) | changed >> 4;
	accept_more(s);
}

static void write_ier(struct serial *s, uint8_t val)
{
	/* enabling the interrupt with an empty THR raises it */
	if ((val & IER_THRE) && !(s->ier & IER_THRE))
		s->thre_pending = true;
	s->ier = val & IER_ALL;
}

static void write_low(struct serial *s, unsigned reg, uint8_t val)
{
	if (s->lcr & LCR_DLAB)
		s->divisor = reg == RBR ? (s->divisor & 0xff00) | val
					: (uint16_t)((s->divisor & 0xff) | val << 8);
	else if (reg == RBR)
		transmit(s, val);
	else
		write_ier(s, val);
}

static void serial_write(struct device *dev, unsigned bar, uint64_t off, uint64_t val,
			 unsigned size)
{
	struct serial *s = container_of(dev, struct serial, dev);
	uint8_t byte = (uint8_t)val;

	if (size != 1 || off >= NREGS) {
		guest_error(dev, "write of %u bytes at %llu", size, (unsigned long long)off);
		return;
	}
	switch (off) {
	case RBR:
	case IER: write_low(s, (unsigned)off, byte); break;
	case IIR: write_fcr(s, byte); break;
	case LCR: s->lcr = byte; break;
	case MCR: write_mcr(s, byte); break;
	case SCR: s->scr = byte; break;
	default: break; /* LSR and MSR are for factory tests */
	}
	update_irq(s);
}

static uint8_t read_rbr(struct serial *s)
{
	uint8_t byte = pop(s);

	accept_more(s);
	return byte;
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t id = pending(s);

	if (id == IIR_THRE)
		s->thre_pending = false;
	return id | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t lsr = s->lsr | LSR_THRE | LSR_TEMT;

	s->lsr &= (uint8_t)~LSR_ERRORS;
	return lsr;
}

static uint8_t read_msr(struct serial *s)
{
	uint8_t msr = s->msr;

	s->msr &= 0xf0;
	return msr;
}

static uint64_t serial_read(struct device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct serial *s = container_of(dev, struct serial, dev);
	bool dlab = s->lcr & LCR_DLAB;
	uint8_t val = 0xff;

	if (size != 1 || off >= NREGS) {
		guest_error(dev, "read of %u bytes at %llu", size, (unsigned long long)off);
		return UINT64_MAX;
	}
	switch (off) {
	case RBR: val = dlab ? (uint8_t)s->divisor : read_rbr(s); break;
	case IER: val = dlab ? (uint8_t)(s->divisor >> 8) : s->ier; break;
	case IIR: val = read_iir(s); break;
	case LCR: val = s->lcr; break;
	case MCR: val = s->mcr; break;
	case LSR: val = read_lsr(s); break;
	case MSR: val = read_msr(s); break;
	case SCR: val = s->scr; break;
	}
	update_irq(s);
	return val;
}

/* --- life ------------------------------------------------------------------------ */

static void serial_reset(struct device *dev)
{
	struct serial *s = container_of(dev, struct serial, dev);

	s->ier = s->fcr = s->lcr = s->mcr = s->lsr = s->scr = 0;
	s->divisor = 12; /* 9600 baud */
	s->thre_pending = false;
	s->msr = modem_inputs(s);
	clear_rx(s);
	accept_more(s);
	update_irq(s);
}

static int serial_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct serial *s = container_of(dev, struct serial, dev);
	const struct serial_config *c = cfg;
	int ret;

	s->irq = irqchip_line(dev->env->irqchip, c->gsi);
	s->client = (struct chardev_client){can_receive, receive};
	serial_reset(dev);
	ret = bus_map(dev->env->pio, dev, 0, c->port, NREGS);
	if (ret)
		return err_set(err, ret, "serial port at %#x: the ports are taken", c->port);
	s->chr = c->chr;
	if (s->chr)
		chardev_attach(s->chr, &s->client);
	return 0;
}

static void serial_fini(struct device *dev)
{
	struct serial *s = container_of(dev, struct serial, dev);

	if (s->chr)
		chardev_attach(s->chr, NULL);
}

static const struct state_field fields[] = {
	STATE_INT(struct serial, ier),
	STATE_INT(struct serial, fcr),
	STATE_INT(struct serial, lcr),
	STATE_INT(struct serial, mcr),
	STATE_INT(struct serial, lsr),
	STATE_INT(struct serial, msr),
	STATE_INT(struct serial, scr),
	STATE_INT(struct serial, divisor),
	STATE_BYTES(struct serial, fifo),
	STATE_INT(struct serial, head),
	STATE_INT(struct serial, count),
	STATE_INT(struct serial, thre_pending),
	STATE_FIELDS_END,
};

static int post_load(void *obj, struct errbuf *err)
{
	struct serial *s = obj;
	bool ok = state_bool_ok(&s->thre_pending);

	LOCK_SCOPE(&s->dev.lock);
	ok &= s->head < FIFO_SIZE && s->count <= capacity(s) && !(s->mcr & ~MCR_ALL) &&
	      !(s->ier & ~IER_ALL) && !!(s->lsr & LSR_DR) == !!s->count;
	if (!ok) {
		clear_rx(s);
		return err_set(err, -EINVAL, "serial port: FIFO of %u bytes from %u is impossible",
			       s->count, s->head);
	}
	update_irq(s);
	accept_more(s);
	return 0;
}

static const struct state_desc state = {
	.name = "serial",
	.version = 1,
	.fields = fields,
	.post_load = post_load,
};

const struct dev_ops serial_ops = {
	.name = "serial",
	.size = sizeof(struct serial),
	.init = serial_init,
	.fini = serial_fini,
	.reset = serial_reset,
	.read = serial_read,
	.write = serial_write,
	.state = &state,
};
