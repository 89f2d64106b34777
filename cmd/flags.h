/*
 * The command line: one table of flags, Go's syntax (-x v, -x=v, --x=v, -b, repeated lists),
 * environment variables, %{ENV} in values. VictoriaMetrics' names wherever it has one. Used at
 * start only; one thread.
 */
#ifndef KS_CMD_FLAGS_H
#define KS_CMD_FLAGS_H

#include "base/buf.h"
#include "base/err.h"

enum ks_flag_type {
    KS_FLAG_STRING,
    KS_FLAG_BOOL,
    KS_FLAG_INT,
    KS_FLAG_DURATION,
    KS_FLAG_RETENTION,
    KS_FLAG_BYTES,
    KS_FLAG_LIST,
    KS_FLAG_BOOLS /* a list of true and false; without a value: true */
};

/*
 * Reads argv[first..]. What is no flag ends the list; *ret_next is its index. Errors name the flag
 * and what to do; an unknown one names the nearest.
 */
KS_NODISCARD ks_err ks_flags_parse(int argc, char **argv, int first, int *ret_next);
void ks_flags_reset(void); /* back to defaults: tests */

/* Values by name; the name must be in the table with that type (asserted). */
const char *ks_flag_str(const char *name);
bool ks_flag_bool(const char *name);
int64_t ks_flag_int(const char *name); /* INT and BYTES */
int64_t ks_flag_ms(const char *name);  /* DURATION and RETENTION */
size_t ks_flag_list(const char *name, const char *const **ret);
/* The item for listener `at`: its own, or the only one there is; "" and false without. */
const char *ks_flag_item(const char *name, size_t at);
bool ks_flag_item_bool(const char *name, size_t at);
/* One warning that names the flags given which have no effect. */
void ks_flags_log_ignored(void);
bool ks_flag_is_set(const char *name);

void ks_flags_print_markdown(struct ks_buf *out); /* the README's table */
void ks_flags_print_values(struct ks_buf *out);   /* /flags; secrets masked */
void ks_flags_print_metrics(struct ks_buf *out);  /* flag{name,value,is_set} 1 */

#endif
