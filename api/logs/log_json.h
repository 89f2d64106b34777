/*
 * A JSON object as a row's fields, in one pass over the text: objects within become dotted names,
 * strings are decoded, numbers, booleans and arrays keep their text (without blanks), nulls are
 * left out. The hot decoder of log ingestion: a string without escapes and a name on the top level
 * are borrowed, all else is built in an arena.
 *
 * An object whose names would grow beyond 128 bytes becomes one field that holds its JSON. So does
 * a key on the `preserve` list. The empty key on the top level is _msg.
 *
 * Lenient where the peer is: any escape it does not know stays as it stands, as does a lone
 * surrogate; control characters in strings are text; NaN and Inf are numbers.
 */
#ifndef KS_API_LOGS_LOG_JSON_H
#define KS_API_LOGS_LOG_JSON_H

#include "api/logs/log_ingest.h"

struct ks_log_json {
    const char *p, *end;
    struct ks_arena *arena; /* of decoded strings and names */
    const char *wrong;      /* what was malformed, at p */
};

/*
 * Adds the fields of the object that begins at j->p (blanks before it allowed) and leaves j->p
 * behind it. On an error the row's fields are to be rewound.
 */
KS_NODISCARD ks_err ks_log_json_object(struct ks_log_json *j, struct ks_log_ingest *in);
/* The same with a prefix for all names ("" none). */
KS_NODISCARD ks_err ks_log_json_object_as(struct ks_log_json *j, struct ks_log_ingest *in,
                                          struct ks_slice prefix);
/* The whole text must be one object. */
KS_NODISCARD ks_err ks_log_json_line(struct ks_slice text, struct ks_log_ingest *in,
                                     struct ks_arena *arena);

/* --- reading by hand --- */
void ks_log_json_blanks(struct ks_log_json *j);
bool ks_log_json_take(struct ks_log_json *j, char c); /* blanks, then c */
char ks_log_json_peek(struct ks_log_json *j);         /* what follows the blanks; 0 at the end */
/* A string, decoded. */
KS_NODISCARD ks_err ks_log_json_string(struct ks_log_json *j, struct ks_slice *ret);
/* Any value's JSON without blanks between its parts; a string keeps its quotes. */
KS_NODISCARD ks_err ks_log_json_text(struct ks_log_json *j, struct ks_slice *ret);
/* A scalar or any value as a field has it: strings decoded, null empty, the rest as text. */
KS_NODISCARD ks_err ks_log_json_value(struct ks_log_json *j, struct ks_slice *ret);
KS_NODISCARD ks_err ks_log_json_fail(const struct ks_log_json *j, const char *start);

#endif
