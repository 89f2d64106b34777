/* Native histograms as text: the query API's JSON, Prometheus' String(), and the notation of its
 * test language. */
#ifndef KS_BASE_HISTOGRAM_TEXT_H
#define KS_BASE_HISTOGRAM_TEXT_H

#include "base/buf.h"
#include "base/histogram.h"

/*
 * {"count":"4","sum":"5","buckets":[[rule,"left","right","count"],…]}: without empty buckets, no
 * "buckets" when there are none. rule: 0 open left, 1 open right, 2 open both, 3 closed both.
 * Errors are in out.
 */
void ks_histogram_json(const struct ks_histogram *h, struct ks_buf *out);

/* {count:20, sum:10, [-2,-1):2, [-0.001,0.001]:2, (0.5,1]:1}: the label value of count_values. */
void ks_histogram_string(const struct ks_histogram *h, struct ks_buf *out);

/*
 * {{schema:1 count:4 sum:5 z_bucket:1 z_bucket_w:0.001 offset:-1 buckets:[1 2] n_buckets:[1]}}.
 * Gaps between spans are printed as empty buckets: the notation has one span per side. KS_ELIMIT
 * for gaps too wide; the rest in out.
 */
KS_NODISCARD ks_err ks_histogram_notation(struct ks_arena *arena, const struct ks_histogram *h,
                                          struct ks_buf *out);

/*
 * Reads this notation, with or without the outer {{ }}, into a float histogram. Not validated:
 * tests write invalid ones on purpose; the layout is sound. KS_EPARSE tells what and where.
 */
KS_NODISCARD ks_err ks_histogram_parse(struct ks_slice text, struct ks_arena *arena,
                                       struct ks_histogram *ret);

#endif
