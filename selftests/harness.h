/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kselftest's harness, with time for debug kernels: its 30 seconds are some 3
 * there. What hangs meets the limit of guest-run.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include "kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

#endif /* HARNESS_H */
