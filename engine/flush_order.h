/* The order of series in a part, for many at once. */
#ifndef KS_ENGINE_FLUSH_ORDER_H
#define KS_ENGINE_FLUSH_ORDER_H

#include "base/err.h"
#include "base/labels.h"

/*
 * Fills ret_order with 0..count-1 in ks_series_cmp order of the keys. Comparing two series costs
 * three texts that mostly lie cold in memory; here each leading text is looked at once and becomes
 * its rank among all there are, series are dealt by these numbers, and only those that agree in all
 * of them are compared.
 */
KS_NODISCARD ks_err ksi_order_series(const struct ks_series_key *keys, uint32_t count,
                                     uint32_t *ret_order);

#endif
