/*
 * A pull reader of JSON for importers: no document tree, nothing allocated but strings that have
 * escapes. Bytes are hostile: every function says false when the text is not what it wants, with p
 * at the place.
 */
#ifndef KS_API_INGEST_JSON_READER_H
#define KS_API_INGEST_JSON_READER_H

#include "base/arena.h"

struct ks_json {
    const char *p, *end;
    struct ks_arena *arena; /* decoded strings */
};

void ks_json_blanks(struct ks_json *j);
/* Steps over blanks and then c; false when something else is there. */
bool ks_json_expect(struct ks_json *j, char c);
/* A string: borrowed when it has no escapes, else decoded into the arena. A lone surrogate becomes
 * U+FFFD. */
bool ks_json_string(struct ks_json *j, struct ks_slice *ret);
/* Steps over any value; nesting is limited. */
bool ks_json_skip(struct ks_json *j);

#endif
