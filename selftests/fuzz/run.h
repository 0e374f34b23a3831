/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FUZZ_RUN_H
#define FUZZ_RUN_H

/* After which a program is ended, as it may wait for something for ever. */
#define PROGRAM_SECONDS	10

#endif /* FUZZ_RUN_H */
