// SPDX-License-Identifier: GPL-2.0
/*
 * coverage_first.c - the mark before gcc's records; linked first
 */
#include "coverage.h"

struct coverage_object *avm_coverage_first __section("avm_gcov_info");
