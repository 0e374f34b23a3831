/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kmem - how much memory the kernel itself has in use
 *
 * Only differences mean something, and everything else on the machine is in them.
 */
#ifndef KMEM_H
#define KMEM_H

/* Around the calls of kmem_bytes(). */
void kmem_open(void);
void kmem_close(void);

/*
 * Bytes in page tables and of objects in slabs (/proc/meminfo, /proc/slabinfo),
 * which root may know; else of whole slabs, of which the kernel keeps some for a
 * while when their objects are freed. Waits for what is being freed.
 */
double kmem_bytes(void);

#endif /* KMEM_H */
