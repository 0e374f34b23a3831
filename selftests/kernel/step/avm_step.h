/* SPDX-License-Identifier: GPL-2.0 */
/*
 * avm_step.h - what the test module and the tests that use it share
 *
 * STEP_RUN makes a call and lets something happen in between two instructions
 * of it: a write by another CPU, or a call by another thread. A test does so
 * after the first instruction, the second, and so on to the last.
 */
#ifndef AVM_STEP_H
#define AVM_STEP_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define STEP_DEVICE	"/dev/avm_step"

/* What is called, besides ioctl(fd, cmd, arg): with this for @fd. */
#define STEP_FAULT	(-1)	/* at @arg, cmd: 1 for a write */

struct step_call {
	__s32 fd;
	__u32 cmd;
	__u64 arg;
	__s64 out_ret;		/* what it returned */
};

/* What happens meanwhile. */
#define STEP_WRITE	0	/* another CPU writes @value to @addr */
#define STEP_OTHER	1	/* the call of a thread that is in STEP_JOIN */

struct step_run {
	struct step_call call;
	__u64 at;		/* after this many instructions */
	__u32 event;
	__u32 out_how;		/* how it went: */
	__u64 addr;		/* a multiple of 8 */
	__u64 value;
	__u64 out_steps;	/* that were made */
};

#define STEP_NOT_REACHED	0	/* the call has no such step */
#define STEP_LOST		1	/* it gave up its CPU before: try again */
/* STEP_WRITE: */
#define STEP_WRITTEN		2
#define STEP_DENIED		3	/* the CPU would have faulted */
/* STEP_OTHER: */
#define STEP_COMPLETE		4	/* the other call ended first */
#define STEP_BLOCKED		5	/* it was still under way after a while */

#define STEP_RUN	_IOWR(0xB9, 0, struct step_run)

/* Waits for a STEP_RUN to come to its step. ECANCELED if it does not. */
#define STEP_JOIN	_IOWR(0xB9, 1, struct step_call)

#endif /* AVM_STEP_H */
