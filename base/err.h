/*
 * Error codes and the text of the last error.
 *
 * The origin of an error calls ks_fail() once: it records code, text and place for the calling
 * thread and returns the code; callers pass the code up untouched. The text belongs to the thread
 * until its next ks_fail(). Success never touches it. Nothing here logs.
 */
#ifndef KS_BASE_ERR_H
#define KS_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

#define KS_NODISCARD    __attribute__((warn_unused_result))
#define KS_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define KS_LIKELY(x)    __builtin_expect(!!(x), 1)
#define KS_UNLIKELY(x)  __builtin_expect(!!(x), 0)

/* X(name, HTTP status, short text). The one table of error codes. */
#define KS_ERR_TABLE(X)                                                                            \
    X(OK, 200, "ok")                                                                               \
    X(EINVAL, 400, "invalid input")                                                                \
    X(EPARSE, 400, "cannot parse")                                                                 \
    X(ENOTFOUND, 404, "not found")                                                                 \
    X(EEXIST, 409, "already exists")                                                               \
    X(ELIMIT, 422, "limit exceeded")                                                               \
    X(ETOOBIG, 413, "too large")                                                                   \
    X(EUNSUPPORTED, 415, "not supported")                                                          \
    X(EEXEC, 422, "cannot execute")                                                                \
    X(EAGAIN, 429, "overloaded, try again")                                                        \
    X(ECANCELED, 499, "canceled")                                                                  \
    X(EIO, 500, "input/output error")                                                              \
    X(ECORRUPT, 500, "corrupt data")                                                               \
    X(EINTERNAL, 500, "internal error")                                                            \
    X(ENOMEM, 503, "out of memory")                                                                \
    X(ENOSPC, 503, "no space left")                                                                \
    X(EREADONLY, 503, "read-only")                                                                 \
    X(ECLOSED, 503, "closed")                                                                      \
    X(EBUSY, 503, "busy")                                                                          \
    X(ETIMEDOUT, 503, "timed out")

typedef enum {
#define X(name, status, text) KS_##name,
    KS_ERR_TABLE(X)
#undef X
        KS_ERR_COUNT
} ks_err;

#define KS_ERR_TEXT_MAX 1024

/* Records code, formatted text and place for this thread; returns code. */
ks_err ks_fail_at(const char *file, int line, ks_err code, const char *fmt, ...) KS_PRINTF(4, 5);
#define ks_fail(code, ...) ks_fail_at(__FILE__, __LINE__, (code), __VA_ARGS__)

/* Puts "context: " before this thread's error text; returns code. For callers that know the file,
 * line or field. */
ks_err ks_fail_context(ks_err code, const char *fmt, ...) KS_PRINTF(2, 3);

/* The text of this thread's last error (never NULL), and where it was recorded ("file.c:12"). */
const char *ks_err_text(void);
const char *ks_err_place(void);

/* Static facts about a code. */
const char *ks_err_name(ks_err code);     /* "ECORRUPT" */
const char *ks_err_describe(ks_err code); /* "corrupt data" */
int ks_err_http_status(ks_err code);

/* The code that fits errno value e: ENOSPC/EDQUOT → KS_ENOSPC, ENOENT → KS_ENOTFOUND, … else
 * KS_EIO. */
ks_err ks_err_from_errno(int e);

/* Assertions stay on in release; for our own logic only, never for bytes from disk or network. */
_Noreturn void ks_panic(const char *file, int line, const char *what);
#define KS_ASSERT(cond) (KS_LIKELY(cond) ? (void)0 : ks_panic(__FILE__, __LINE__, #cond))

#define KS_TRY(expr)                                                                               \
    do {                                                                                           \
        ks_err ks_try_err_ = (expr);                                                               \
        if (KS_UNLIKELY(ks_try_err_ != KS_OK))                                                     \
            return ks_try_err_;                                                                    \
    } while (0)

#endif
