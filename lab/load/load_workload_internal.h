/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_workload_internal.h - what the parts of load_workload*.c share: the types of values that
 * only a workload's file has.
 *
 *	load_workload_numbers.c  numbers, and distributions of numbers
 *	load_workload_arrival.c  when sessions begin
 *	load_workload.c          classes, the file
 */
#ifndef PINTLE_LOAD_WORKLOAD_INTERNAL_H
#define PINTLE_LOAD_WORKLOAD_INTERNAL_H

#include "../../userspace/yaml/yaml_read.h"
#include "load_workload.h"

#define LOAD_MAX_DURATION (24 * 3600 * (double)NSEC_PER_SEC)

extern const struct yaml_type load_dist_whole;    /* struct dist of whole numbers */
extern const struct yaml_type load_dist_duration; /* struct dist of nanoseconds */
extern const struct yaml_type load_arrival;       /* the whole struct workload_class */

#endif
