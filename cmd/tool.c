#include "cmd/tool.h"

#include <stdio.h>
#include <string.h>

ks_err ks_tool_args(int argc, char **argv, struct ks_tool_opt *opts, size_t opt_count,
                    const char **words, size_t cap, size_t *ret_count)
{
    *ret_count = 0;
    for (int a = 0; a < argc; a++) {
        const char *s = argv[a];
        if (s[0] != '-' || !s[1]) {
            if (*ret_count == cap)
                return ks_fail(KS_EINVAL, "unexpected argument \"%s\"", s);
            words[(*ret_count)++] = s;
            continue;
        }
        s += s[1] == '-' ? 2 : 1;
        size_t len = strcspn(s, "="), i = 0;
        while (i < opt_count && (strlen(opts[i].name) != len || memcmp(opts[i].name, s, len) != 0))
            i++;
        if (i == opt_count)
            return ks_fail(KS_EINVAL, "unknown option -%.*s", (int)len, s);
        if (!s[len] && a + 1 == argc)
            return ks_fail(KS_EINVAL, "option -%s needs a value", opts[i].name);
        opts[i].value = s[len] ? s + len + 1 : argv[++a];
    }
    return KS_OK;
}

int ks_tool_complain(ks_err err)
{
    fprintf(stderr, "kofstore: %s\n", ks_err_text());
    return err == KS_EINVAL || err == KS_EPARSE ? 2 : 1;
}
