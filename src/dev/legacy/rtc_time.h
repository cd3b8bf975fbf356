/* SPDX-License-Identifier: Apache-2.0 */
/* rtc_time.h - seconds since 1970 to and from MC146818 registers; alarm times (rtc.c only). */
#pragma once

#include "base/cleanup.h"

enum {
	RTC_SECOND = 0,
	RTC_ALARM_SECOND = 1,
	RTC_MINUTE = 2,
	RTC_ALARM_MINUTE = 3,
	RTC_HOUR = 4,
	RTC_ALARM_HOUR = 5,
	RTC_WEEKDAY = 6,
	RTC_DAY = 7,
	RTC_MONTH = 8,
	RTC_YEAR = 9,
	RTC_REG_B = 11,
	RTC_CENTURY = 0x32,
};
enum { RTC_B_24H = 2, RTC_B_BINARY = 4 };
#define RTC_MAX_S 1000000000000LL /* more than any register values can say */

/* @regs: the CMOS, whose register B gives the format.  Fills the time registers. */
void rtc_time_to_regs(int64_t s, uint8_t *regs);
/* Any bytes give some time within RTC_MAX_S. */
int64_t rtc_regs_to_time(const uint8_t *regs);
/* Does the alarm in @regs go off in seconds (@after, @until]? */
bool rtc_alarm_between(const uint8_t *regs, int64_t after, int64_t until);
