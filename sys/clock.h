/* Clocks behind a seam: tests may freeze or step them process-wide. */
#ifndef KS_SYS_CLOCK_H
#define KS_SYS_CLOCK_H

#include <stdint.h>

int64_t ks_now_ms(void);  /* wall clock, unix ms */
int64_t ks_now_ns(void);  /* wall clock, unix ns */
int64_t ks_mono_ms(void); /* monotonic */
int64_t ks_mono_us(void);
int64_t ks_thread_cpu_us(void);

/* Tests: the wall clock shows ms from now on until reset by 0. Monotonic time is unaffected. */
void ks_clock_freeze_ms(int64_t ms);

#endif
