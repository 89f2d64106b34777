/*
 * How threads share cores. A core is lent to a thread for a turn, which may be milliseconds; who
 * becomes ready meanwhile waits. Where cores are few that wait is what answers and writes take
 * longest for, so threads that work for long without a pause take short turns and offer their core
 * now and then. Nobody's share of the processor changes by this.
 */
#ifndef KS_SYS_THREAD_H
#define KS_SYS_THREAD_H

/* The calling thread takes turns of 0.2 ms: who wakes need not wait for the end of a long one.
 * Linux 6.12 and later; nothing happens elsewhere. */
void ks_thread_short_turns(void);

/* The calling thread hands work between the network and others, a little at a time: turns of 0.1
 * ms, so that it runs as soon as it wakes, before those that take short turns. */
void ks_thread_prompt(void);

/* The calling thread's work is for nobody who waits: short turns, and when it wakes it takes no
 * core from a thread that runs. */
void ks_thread_background(void);

/*
 * Offers the core to others who wait for it, when the calling thread has had it for a while. For
 * loops of long work, every 10 to 100 µs or seldomer; costs about as much as reading a clock. Not
 * with a lock held that writers or short reads want.
 */
void ks_thread_breathe(void);

#endif
