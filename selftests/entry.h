/* SPDX-License-Identifier: GPL-2.0 */
/*
 * entry.h - an upcall that counts, and ends as a signal would: for tests that
 * register without libavm. Include it after avmtest.h.
 */
#ifndef ENTRY_H
#define ENTRY_H

/* What AVM_IOC_TRAP registers. Ends the try that it came from. */
extern const char upcall_entry[];
void upcall_made(void);
static volatile unsigned int upcalls_made;

asm("	.pushsection .text\n"
	"	.globl upcall_entry\n"
	"upcall_entry:\n"
	"	and $-16, %rsp\n"
	"	call upcall_made\n"
	"	.popsection\n");

void upcall_made(void)
{
	upcalls_made++;
	denied.sig = SIGSEGV;
	siglongjmp(denied_jump, 1);
}

#endif /* ENTRY_H */
