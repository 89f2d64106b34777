// extern "C" doors to RE2: linear time, bounded memory, no exceptions across the border.
#include <re2/re2.h>

#include <new>
#include <string>

#include "base/cxx/re2.h"

struct ks_re {
    re2::RE2 re;
    ks_re(re2::StringPiece p, const re2::RE2::Options &o) : re(p, o)
    {
    }
};

// Go reads (?<name>…) since 1.22, this RE2 only (?P<name>…): the P is put in.
static std::string go_names(const char *pattern, size_t len)
{
    std::string out;
    bool in_class = false;
    for (size_t i = 0; i < len; i++) {
        char c = pattern[i];
        out += c;
        if (c == '\\' && i + 1 < len) {
            out += pattern[++i];
        } else if (in_class) {
            in_class = c != ']';
        } else if (c == '[') {
            in_class = true;
            if (i + 1 < len && pattern[i + 1] == '^')
                out += pattern[++i];
            if (i + 1 < len && pattern[i + 1] == ']') // the first one is a member
                out += pattern[++i];
        } else if (c == '(' && i + 3 < len && pattern[i + 1] == '?' && pattern[i + 2] == '<' &&
                   pattern[i + 3] != '=' && pattern[i + 3] != '!') {
            out += "?P";
            i++;
        }
    }
    return out;
}

extern "C" struct ks_re *ks_re_new(const char *pattern, size_t len, int flags, char *err,
                                   size_t err_size)
{
    re2::RE2::Options o;
    o.set_log_errors(false);
    o.set_dot_nl((flags & KS_RE_DOT_NL) != 0);
    o.set_case_sensitive((flags & KS_RE_CASELESS) == 0);
    o.set_max_mem(8 << 20);
    if (flags & KS_RE_LATIN1)
        o.set_encoding(re2::RE2::Options::EncodingLatin1);
    try {
        ks_re *r = new ks_re(go_names(pattern, len), o);
        if (!r->re.ok()) {
            if (err_size) {
                size_t n = r->re.error().copy(err, err_size - 1);
                err[n] = 0;
            }
            delete r;
            return nullptr;
        }
        return r;
    } catch (const std::bad_alloc &) {
        if (err_size) {
            std::string("out of memory").copy(err, err_size - 1);
            err[err_size > 13 ? 13 : err_size - 1] = 0;
        }
        return nullptr;
    }
}

extern "C" void ks_re_free(struct ks_re *re)
{
    delete re;
}

extern "C" int ks_re_full_match(const struct ks_re *re, const char *s, size_t len)
{
    return re->re.Match(re2::StringPiece(s, len), 0, len, re2::RE2::ANCHOR_BOTH, nullptr, 0);
}

extern "C" int ks_re_search(const struct ks_re *re, const char *s, size_t len, size_t start,
                            int anchored, struct ks_re_group *groups, int group_count)
{
    enum { MAX = 64 };
    re2::StringPiece sub[MAX];
    if (group_count > MAX)
        group_count = MAX;
    if (!re->re.Match(re2::StringPiece(s, len), start, len,
                      anchored ? re2::RE2::ANCHOR_BOTH : re2::RE2::UNANCHORED, sub, group_count))
        return 0;
    for (int i = 0; i < group_count; i++) {
        groups[i].start = sub[i].data() ? sub[i].data() - s : -1;
        groups[i].end =
            sub[i].data() ? groups[i].start + static_cast<ptrdiff_t>(sub[i].size()) : -1;
    }
    return 1;
}

extern "C" int ks_re_group_count(const struct ks_re *re)
{
    return re->re.NumberOfCapturingGroups();
}

extern "C" int ks_re_group_index(const struct ks_re *re, const char *name, size_t len)
{
    const auto &names = re->re.NamedCapturingGroups();
    auto it = names.find(std::string(name, len));
    return it == names.end() ? -1 : it->second;
}
