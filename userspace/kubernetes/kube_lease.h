/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_lease.h - elects, by a Lease in pintled's own namespace, the one daemon of the cluster that
 * writes conditions and Events. Steering needs no such daemon.
 *
 * Nobody's clock is compared: a Lease has run out once its holder did not renew it for as long as
 * it says, by the own clock. The holder renews after a third of that time. Others look after about
 * all of it, with jitter: 5,000 nodes ask some 80 times a second, and the API server answers from
 * its cache.
 */
#ifndef PINTLE_KUBE_LEASE_H
#define PINTLE_KUBE_LEASE_H

#include "kube_watch.h"

#define KUBE_LEASE_NAME    "pintle-leader"
#define KUBE_LEASE_SECONDS 60

struct kube_lease;

/** Begins to ask for it. `identity` is copied: another daemon's must differ, and this one's is the
 * same after a restart. `changed` is called on the loop whenever the Lease was asked for, with or
 * without success. Returns NULL without memory. */
struct kube_lease *kube_lease_new(struct kube_client *c, const char *identity,
				  void (*changed)(void *arg), void *arg);
/** Frees it without giving the Lease up. NULL is fine. Must not be called from `changed`. */
void kube_lease_free(struct kube_lease *l);
/** Returns whether this daemon has it. */
bool kube_lease_held(const struct kube_lease *l);
const char *kube_lease_identity(const struct kube_lease *l);

/** Writes the identity of pintled in this network namespace of this machine. */
#define KUBE_IDENTITY_SIZE 128
const char *kube_lease_own(char buf[KUBE_IDENTITY_SIZE]);

#endif
