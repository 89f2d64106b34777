/* RE2 for C. A compiled expression is immutable and may be used by many threads at once. */
#ifndef KS_BASE_CXX_RE2_H
#define KS_BASE_CXX_RE2_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ks_re;
struct ks_re_group {
    ptrdiff_t start, end; /* byte offsets, -1 when the group did not take part */
};

enum { KS_RE_DOT_NL = 1, KS_RE_CASELESS = 2, KS_RE_LATIN1 = 4 };

/* NULL on a bad pattern: err holds the reason, NUL-terminated. */
struct ks_re *ks_re_new(const char *pattern, size_t len, int flags, char *err, size_t err_size);
void ks_re_free(struct ks_re *re);

/* Whether the whole text matches. */
int ks_re_full_match(const struct ks_re *re, const char *s, size_t len);
/* First match at or after start; group 0 is the whole match. `anchored` asks for start..len in
 * full. */
int ks_re_search(const struct ks_re *re, const char *s, size_t len, size_t start, int anchored,
                 struct ks_re_group *groups, int group_count);
int ks_re_group_count(const struct ks_re *re);
int ks_re_group_index(const struct ks_re *re, const char *name, size_t len); /* -1 unknown */

#ifdef __cplusplus
}
#endif
#endif
