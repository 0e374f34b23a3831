/* SPDX-License-Identifier: GPL-2.0 */
/*
 * limits - give every peer the room that its manual knows of
 */
#ifndef LIMITS_H
#define LIMITS_H

/*
 * Raise RLIMIT_MEMLOCK as far as we may, and with --raise-limits, until the
 * program ends, vm.max_map_count; say what that is.
 */
void limits_raise(void);

#endif /* LIMITS_H */
