/* extra_label=name=value, repeatable: labels added to all that is written, or asked of all that is
 * read. */
#ifndef KS_API_EXTRA_LABELS_H
#define KS_API_EXTRA_LABELS_H

#include "api/http.h"
#include "base/labels.h"

/* *ret is in the request's arena and points into its arguments; NULL when there are none. KS_EINVAL
 * names an argument without a name or "=". */
KS_NODISCARD ks_err ks_extra_labels(struct ks_http_request *req, struct ks_label **ret,
                                    size_t *ret_count);

#endif
