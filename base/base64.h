/* Base64 (RFC 4648) with the standard alphabet. */
#ifndef KS_BASE_BASE64_H
#define KS_BASE_BASE64_H

#include <stdbool.h>

#include "base/buf.h"

void ks_base64_encode(struct ks_slice bytes, struct ks_buf *out); /* appends, padded */

/* Appends the bytes. Padding may be missing; anything else that is not the alphabet, a lone sixth
 * of a byte or bits behind the last byte give false, and nothing is appended. */
bool ks_base64_decode(struct ks_slice text, struct ks_buf *out);

#endif
