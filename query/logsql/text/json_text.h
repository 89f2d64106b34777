/*
 * JSON inside log values: flattening an object into fields, the items of an array. Bytes are
 * hostile: nothing recurses, nesting is limited, and a text that is not JSON gives nothing at all.
 *
 * As VictoriaLogs reads it: numbers keep their text, inf and nan are numbers, unknown escapes stay
 * as they are, arrays become compact JSON text.
 */
#ifndef KS_QUERY_LOGSQL_JSON_TEXT_H
#define KS_QUERY_LOGSQL_JSON_TEXT_H

#include "base/arena.h"
#include "query/logsql/syntax/ast.h"

enum { KSI_JSON_DEPTH_MAX = 300, KSI_JSON_NAME_MAX = 128 };

struct ksi_json_field {
    struct ks_slice name, value;
};
struct ksi_json_fields {
    struct ksi_json_field *items;
    size_t count, cap;
};

/*
 * Appends the fields of an object: nested names joined by '.', nulls left out, the empty name is
 * "_msg". Objects at names in `preserve` (may be NULL), and those whose fields' names would be too
 * long, stay JSON. `wanted` (NULL or empty: all) spares the making of others. *ret_ok is false, and
 * nothing is appended, when the text is no object. Values are borrowed from the text or made in the
 * arena.
 */
KS_NODISCARD ks_err ksi_json_flatten(struct ks_slice text, const struct ks_lq_fields *preserve,
                                     const struct ks_lq_fields *wanted, struct ks_arena *arena,
                                     struct ksi_json_fields *out, bool *ret_ok);
/* The items of an array: strings decoded, others compact JSON. ret_items may be NULL: only the
 * count. *ret_ok is false when the text is no array. */
KS_NODISCARD ks_err ksi_json_items(struct ks_slice text, struct ks_arena *arena,
                                   struct ks_slice **ret_items, size_t *ret_count, bool *ret_ok);

#endif
