// SPDX-License-Identifier: Apache-2.0
/*
 * rtc_time.c - calendar and formats of the MC146818.
 *
 * Pure functions.  Register bytes come from the guest and may be nonsense (month
 * 0, BCD digits above 9): every combination gives a time, none an undefined one.
 * Days are counted in the proleptic Gregorian calendar; the era arithmetic is the
 * usual one of 400-year cycles starting on 1 March.
 */
#include "dev/legacy/rtc_time.h"

enum { DAY_S = 86400, HOUR_PM = 0x80, DONT_CARE = 0xc0 };

static uint8_t encode(const uint8_t *regs, unsigned v)
{
	return (uint8_t)(regs[RTC_REG_B] & RTC_B_BINARY ? v : v / 10 << 4 | v % 10);
}

static unsigned decode(const uint8_t *regs, uint8_t v)
{
	return regs[RTC_REG_B] & RTC_B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

static uint8_t encode_hour(const uint8_t *regs, unsigned hour)
{
	if (regs[RTC_REG_B] & RTC_B_24H)
		return encode(regs, hour);
	return encode(regs, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const uint8_t *regs, uint8_t v)
{
	if (regs[RTC_REG_B] & RTC_B_24H)
		return decode(regs, v);
	return decode(regs, v & (uint8_t)~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static int64_t days_from_civil(int64_t y, unsigned m, unsigned d)
{
	int64_t era;
	unsigned yoe, doy;

	y -= m <= 2;
	era = floor_div(y, 400);
	yoe = (unsigned)(y - era * 400);
	doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
	return era * 146097 + (int64_t)(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

static void civil_from_days(int64_t days, int64_t *y, unsigned *m, unsigned *d)
{
	int64_t z = days + 719468, era = floor_div(z, 146097);
	unsigned doe = (unsigned)(z - era * 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = (int64_t)yoe + era * 400 + (*m <= 2);
}

void rtc_time_to_regs(int64_t s, uint8_t *regs)
{
	int64_t days = floor_div(s, DAY_S), y;
	unsigned tod = (unsigned)(s - days * DAY_S), m, d, year;

	civil_from_days(days, &y, &m, &d);
	year = (unsigned)(y < 0 ? 0 : y % 10000);
	regs[RTC_SECOND] = encode(regs, tod % 60);
	regs[RTC_MINUTE] = encode(regs, tod / 60 % 60);
	regs[RTC_HOUR] = encode_hour(regs, tod / 3600);
	regs[RTC_WEEKDAY] = encode(regs, (unsigned)(days + 4 - floor_div(days + 4, 7) * 7) + 1);
	regs[RTC_DAY] = encode(regs, d);
	regs[RTC_MONTH] = encode(regs, m);
	regs[RTC_YEAR] = encode(regs, year % 100);
	regs[RTC_CENTURY] = encode(regs, year / 100);
}

int64_t rtc_regs_to_time(const uint8_t *regs)
{
	unsigned month = decode(regs, regs[RTC_MONTH]);
	int64_t year = decode(regs, regs[RTC_CENTURY]) * 100 + decode(regs, regs[RTC_YEAR]);
	int64_t days;

	month = month < 1 ? 1 : MIN(month, 12u);
	days = days_from_civil(year, month, 1) + decode(regs, regs[RTC_DAY]) - 1;
	return days * DAY_S + decode_hour(regs, regs[RTC_HOUR]) * 3600 +
	       decode(regs, regs[RTC_MINUTE]) * 60 + decode(regs, regs[RTC_SECOND]);
}

/* --- alarm ----------------------------------------------------------------------- */

struct alarm { /* -1: any */
	int h, m, s;
};

static int wanted(uint8_t raw, unsigned decoded)
{
	return (raw & DONT_CARE) == DONT_CARE ? -1 : (int)decoded;
}

/* First matching second of the day at or after @from; -1: none today. */
static int next_match(const struct alarm *a, int from)
{
	for (int h = from / 3600; h < 24; h++) {
		int m0 = h == from / 3600 ? from / 60 % 60 : 0;

		if (a->h >= 0 && a->h != h)
			continue;
		for (int m = m0; m < 60; m++) {
			bool first = h * 60 + m == from / 60;
			int s = a->s >= 0 ? a->s : first ? from % 60 : 0;

			if (a->m >= 0 && a->m != m)
				continue;
			if (!first || s >= from % 60)
				return h * 3600 + m * 60 + s;
		}
	}
	return -1;
}

bool rtc_alarm_between(const uint8_t *regs, int64_t after, int64_t until)
{
	struct alarm a = {
		wanted(regs[RTC_ALARM_HOUR], decode_hour(regs, regs[RTC_ALARM_HOUR])),
		wanted(regs[RTC_ALARM_MINUTE], decode(regs, regs[RTC_ALARM_MINUTE])),
		wanted(regs[RTC_ALARM_SECOND], decode(regs, regs[RTC_ALARM_SECOND])),
	};
	int64_t from = after + 1, day = floor_div(from, DAY_S);
	int tod;

	if (a.h > 23 || a.m > 59 || a.s > 59 || until < from)
		return false;
	if (until - from >= DAY_S)
		return true; /* every alarm goes off once a day */
	tod = next_match(&a, (int)(from - day * DAY_S));
	if (tod < 0) {
		day++;
		tod = next_match(&a, 0);
	}
	return tod >= 0 && day * DAY_S + tod <= until;
}
