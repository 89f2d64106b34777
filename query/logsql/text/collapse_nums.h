/* Numbers of a text replaced by <N>, and well-known groups of them by names: collapse_nums. */
#ifndef KS_QUERY_LOGSQL_COLLAPSE_NUMS_H
#define KS_QUERY_LOGSQL_COLLAPSE_NUMS_H

#include "base/buf.h"
#include "base/slice.h"

/*
 * Appends s with decimal runs, and hexadecimal ones of even length from 4 on, as <N> where they do
 * not continue a word.
 */
void ksi_lq_collapse_nums(struct ks_slice s, struct ks_buf *out);
/* Appends s, a text with <N>, with <UUID>, <IP4>, <TIME>, <DATE> and <DATETIME> in it. */
void ksi_lq_collapse_prettify(struct ks_slice s, struct ks_buf *out);

#endif
