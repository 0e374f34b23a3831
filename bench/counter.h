/* SPDX-License-Identifier: GPL-2.0 */
/*
 * counter - events of the calling thread that the kernel counts, by perf
 */
#ifndef COUNTER_H
#define COUNTER_H

/* A counter, or -1 where one may not, or the kernel has none. */
int counter_faults(void);	/* those that end in a signal, too */
int counter_flushes(void);	/* calls of the TLB flush for a process */
double counter_read(int counter);

#endif /* COUNTER_H */
