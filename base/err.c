#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char err_text[KS_ERR_TEXT_MAX];
static _Thread_local char err_place[128];

static const struct {
    const char *name, *text;
    int status;
} table[KS_ERR_COUNT] = {
#define X(name, status, text) {#name, text, status},
    KS_ERR_TABLE(X)
#undef X
};

ks_err ks_fail_at(const char *file, int line, ks_err code, const char *fmt, ...)
{
    /* Formatted aside first: the arguments may contain the old text. */
    char text[KS_ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(err_text, text, sizeof text);
    const char *base = strrchr(file, '/');
    snprintf(err_place, sizeof err_place, "%s:%d", base ? base + 1 : file, line);
    return code;
}

ks_err ks_fail_context(ks_err code, const char *fmt, ...)
{
    char text[2 * KS_ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, KS_ERR_TEXT_MAX, fmt, ap);
    va_end(ap);
    if (n < 0)
        return code;
    size_t used = (size_t)n < KS_ERR_TEXT_MAX ? (size_t)n : KS_ERR_TEXT_MAX - 1;
    snprintf(text + used, sizeof text - used, ": %s", err_text);
    text[KS_ERR_TEXT_MAX - 1] = 0;
    memcpy(err_text, text, KS_ERR_TEXT_MAX);
    return code;
}

const char *ks_err_text(void)
{
    return err_text;
}

const char *ks_err_place(void)
{
    return err_place;
}

const char *ks_err_name(ks_err code)
{
    return (unsigned)code < KS_ERR_COUNT ? table[code].name : "?";
}

const char *ks_err_describe(ks_err code)
{
    return (unsigned)code < KS_ERR_COUNT ? table[code].text : "unknown error";
}

int ks_err_http_status(ks_err code)
{
    return (unsigned)code < KS_ERR_COUNT ? table[code].status : 500;
}

ks_err ks_err_from_errno(int e)
{
    switch (e) {
    case ENOSPC:
    case EDQUOT:
        return KS_ENOSPC;
    case ENOENT:
        return KS_ENOTFOUND;
    case EEXIST:
        return KS_EEXIST;
    case ENOMEM:
        return KS_ENOMEM;
    case EROFS:
        return KS_EREADONLY;
    default:
        return KS_EIO;
    }
}

_Noreturn void ks_panic(const char *file, int line, const char *what)
{
    fprintf(stderr, "panic: assertion failed at %s:%d: %s\n", file, line, what);
    abort();
}
