/* SPDX-License-Identifier: GPL-2.0 */
/* step.h - what the files of the module share */
#ifndef STEP_H
#define STEP_H

#include "avm_step.h"

int step_run(struct step_run *arg);
int step_join(struct step_call *arg);
int step_setup(void);
void step_teardown(void);

#endif /* STEP_H */
