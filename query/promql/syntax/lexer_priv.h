/* Shared by lexer.c and lexer_strict.c. */
#ifndef KS_QUERY_PROMQL_LEXER_PRIV_H
#define KS_QUERY_PROMQL_LEXER_PRIV_H

#include "query/promql/syntax/lexer.h"

/* Blanks are skipped already. */
KS_NODISCARD ks_err ksi_lex_strict(struct ksi_lexer *lx, struct ksi_token *ret);
/* Length of the punctuation s begins with, 0 when none. */
size_t ksi_lex_punct(struct ks_slice s, enum ksi_tok *ret);
size_t ksi_rune(struct ks_slice s, int32_t *ret);
bool ksi_rune_is_letter(int32_t r);
bool ksi_rune_is_print(int32_t r);

#endif
