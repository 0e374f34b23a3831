// SPDX-License-Identifier: GPL-2.0
/*
 * coverage_last.c - the mark behind gcc's records, linked last; and where they
 * are, for avm_coverage.c
 */
#include <linux/module.h>

#include "coverage.h"

struct coverage_object *avm_coverage_last __section("avm_gcov_info");

struct coverage_records avm_coverage_records = {
	.first = &avm_coverage_first,
	.last = &avm_coverage_last,
};
EXPORT_SYMBOL_GPL(avm_coverage_records);

/* The records name it; it is for programs that merge files themselves. */
void __gcov_merge_add(s64 *counters, unsigned int n)
{
}
