/*
 * The points of a matrix as JSON. Most of a large answer is its times, the same ones for each
 * series, and values that repeat: the times' texts are made once, a value's text is copied while it
 * stays the same.
 */
#ifndef KS_API_PROM_POINTS_H
#define KS_API_PROM_POINTS_H

#include "api/prom/prom.h"

/* One answer being written; on the stack of who writes it. */
struct ks_prom_points {
    const struct ks_promql_result *result;
    bool strict;
    char *times; /* ,[1700000000.123," of each point of the grid, in slots; NULL: made each time */
    uint8_t *sizes; /* of these */
    size_t start, seen, points;
};

/* The arena keeps the table; without room for it there is none. out: where the answer goes. */
void ks_prom_points_init(struct ks_prom_points *w, const struct ks_promql_result *r, bool strict,
                         struct ks_arena *arena, const struct ks_buf *out);
/* Appends ,"values":[[t,"v"],…], nothing when there are no numbers. Returns their count. */
size_t ks_prom_points_numbers(struct ks_prom_points *w, struct ks_buf *out,
                              const struct ks_promql_series *s);
/* The same for ,"histograms":[[t,{…}],…]. */
size_t ks_prom_points_histograms(struct ks_prom_points *w, struct ks_buf *out,
                                 const struct ks_promql_series *s);
/* Call after each series: makes room for the rest of a large answer at once, by what the first ones
 * took. */
void ks_prom_points_expect(struct ks_prom_points *w, struct ks_buf *out);

#endif
