/*
 * LogsQL's syntax tree: a query is options, a filter and a chain of pipes. Everything lives in the
 * arena it was parsed into and is immutable after parsing, except where a comment says that the
 * executor fills it in. Texts are unquoted; the printer (print.h) quotes what needs it.
 *
 * Field names: the message field is "_msg" (an empty name in the text means it). Where a list may
 * hold `prefix*`, the star is the flag `prefix`, and {"" , prefix} is `*`.
 *
 * Depth: filters, subqueries and math expressions nest at most KS_LQ_MAX_DEPTH in sum, so walkers
 * may recurse. A query has at most KS_LQ_MAX_PIPES pipes.
 */
#ifndef KS_QUERY_LOGSQL_AST_H
#define KS_QUERY_LOGSQL_AST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum { KS_LQ_MAX_DEPTH = 64, KS_LQ_MAX_PIPES = 256 };

struct ks_lq_query;
struct ks_lq_filter;

struct ks_lq_field {
    struct ks_slice name; /* without the star */
    bool prefix;
};
struct ks_lq_fields {
    struct ks_lq_field *items;
    size_t count;
};
struct ks_lq_names {
    struct ks_slice *items;
    size_t count;
};

/* ---------------------------------------------------------------- filters */

enum ks_lq_filter_kind {
    KS_LQ_F_ALL, /* * */
    KS_LQ_F_AND, /* kids */
    KS_LQ_F_OR,  /* kids */
    KS_LQ_F_NOT, /* kids[0] */
    KS_LQ_F_PHRASE,
    KS_LQ_F_PREFIX, /* text "" with a field: field:* */
    KS_LQ_F_SUBSTRING,
    KS_LQ_F_EXACT,
    KS_LQ_F_EXACT_PREFIX,
    KS_LQ_F_ANYCASE_PHRASE,
    KS_LQ_F_ANYCASE_PREFIX,
    KS_LQ_F_REGEXP,
    KS_LQ_F_SEQUENCE,     /* values */
    KS_LQ_F_IN,           /* values or sub */
    KS_LQ_F_CONTAINS_ANY, /* values or sub */
    KS_LQ_F_CONTAINS_ALL, /* values or sub */
    KS_LQ_F_RANGE,
    KS_LQ_F_STRING_RANGE,
    KS_LQ_F_IPV4_RANGE,
    KS_LQ_F_IPV6_RANGE,
    KS_LQ_F_LEN_RANGE,
    KS_LQ_F_EQ_FIELD, /* text: the other field */
    KS_LQ_F_LE_FIELD,
    KS_LQ_F_LT_FIELD,
    KS_LQ_F_VALUE_TYPE,
    KS_LQ_F_PATTERN_MATCH, /* pattern_mode */
    KS_LQ_F_EQUALS_COMMON_CASE,
    KS_LQ_F_CONTAINS_COMMON_CASE,
    KS_LQ_F_JSON_ARRAY_CONTAINS_ANY,
    KS_LQ_F_STREAM,
    KS_LQ_F_STREAM_ID, /* values (48 hex digits each) or sub */
    KS_LQ_F_TIME,
    KS_LQ_F_DAY_RANGE,
    KS_LQ_F_WEEK_RANGE
};

enum ks_lq_pattern_mode {
    KS_LQ_PATTERN_ANY,
    KS_LQ_PATTERN_FULL,
    KS_LQ_PATTERN_PREFIX,
    KS_LQ_PATTERN_SUFFIX
};

enum ks_lq_tag_op {
    KS_LQ_TAG_EQ,
    KS_LQ_TAG_NE,
    KS_LQ_TAG_RE,
    KS_LQ_TAG_NRE,
    KS_LQ_TAG_IN,
    KS_LQ_TAG_NOT_IN
};
struct ks_lq_tag_filter {
    struct ks_slice name, value;
    enum ks_lq_tag_op op;
    struct ks_lq_names values; /* in(…), not_in(…) */
};
struct ks_lq_stream_filter { /* an OR of ANDs */
    struct {
        struct ks_lq_tag_filter *items;
        size_t count;
    } * ors;
    size_t count;
};

/* Why one struct: nodes are few and walkers switch on kind. Fields that a kind does not use are
 * zero. */
struct ks_lq_filter {
    enum ks_lq_filter_kind kind;
    struct ks_lq_field field;   /* what it looks at; "_msg" when the text named none */
    struct ks_slice text;       /* word, phrase, regexp, pattern, type, other field */
    struct ks_lq_filter **kids; /* AND, OR, NOT */
    size_t kid_count;
    struct ks_lq_names values;
    bool any_value;             /* in(*): everything (folded to ALL by the parser) */
    struct ks_lq_query *sub;    /* subquery with one result column; the executor replaces it */
    struct ks_slice sub_column; /* the name of that column */
    double min, max;            /* RANGE: inclusive */
    uint64_t min_len, max_len;  /* LEN_RANGE */
    uint32_t min_ip, max_ip;    /* IPV4_RANGE */
    uint8_t min_ip6[16], max_ip6[16];
    struct ks_slice min_text, max_text; /* STRING_RANGE [min, max); max_open: no upper end */
    bool max_open;
    int64_t min_ns, max_ns; /* TIME: inclusive; DAY_RANGE: of the day; WEEK_RANGE: first, last day
                               (0 = Sunday) */
    int64_t offset_ns;
    bool zone_local; /* DAY_RANGE, WEEK_RANGE without offset: the server's zone */
    enum ks_lq_pattern_mode pattern_mode;
    struct ks_lq_stream_filter stream;
    struct ks_slice shown; /* literal as printed after `field:`, where it is kept from the text */
};

/* ---------------------------------------------------------------- stats functions */

enum ks_lq_func_kind {
    KS_LQ_FN_ANY,
    KS_LQ_FN_AVG,
    KS_LQ_FN_COUNT,
    KS_LQ_FN_COUNT_EMPTY,
    KS_LQ_FN_COUNT_UNIQ,
    KS_LQ_FN_COUNT_UNIQ_HASH,
    KS_LQ_FN_FIELD_MAX, /* args[0], args[1]: the value of x where y is largest: field_max(y, x) */
    KS_LQ_FN_FIELD_MIN,
    KS_LQ_FN_HISTOGRAM,
    KS_LQ_FN_JSON_VALUES,
    KS_LQ_FN_MAX,
    KS_LQ_FN_MEDIAN,
    KS_LQ_FN_MIN,
    KS_LQ_FN_QUANTILE,
    KS_LQ_FN_RATE,
    KS_LQ_FN_RATE_SUM,
    KS_LQ_FN_ROW_ANY,
    KS_LQ_FN_ROW_MAX, /* args[0]: compared; the others: fields of the row, none = all */
    KS_LQ_FN_ROW_MIN,
    KS_LQ_FN_STDDEV,
    KS_LQ_FN_SUM,
    KS_LQ_FN_SUM_LEN,
    KS_LQ_FN_UNIQ_VALUES,
    KS_LQ_FN_VALUES,
    KS_LQ_FN_FIRST, /* running_stats and total_stats only */
    KS_LQ_FN_LAST,
    KS_LQ_FN_COUNT_OF_KINDS
};

struct ks_lq_sort_key {
    struct ks_slice name;
    bool desc;
};
struct ks_lq_sort_keys {
    struct ks_lq_sort_key *items;
    size_t count;
};

struct ks_lq_func {
    enum ks_lq_func_kind kind;
    struct ks_lq_fields args; /* `*` is one item {"", prefix}; quantile: none = all */
    double phi;               /* quantile */
    struct ks_slice phi_text;
    uint64_t limit;              /* count_uniq, uniq_values, values, json_values …; 0 = none */
    struct ks_lq_sort_keys sort; /* json_values */
    uint64_t offset;             /* first, last of running_stats */
    struct ks_lq_filter *cond;   /* if (…), NULL = every row */
    struct ks_slice result;      /* column name; given or the canonical text */
    double step_seconds; /* rate, rate_sum: divide by it; 0 = do not. Filled in by the planner from
                            the time range or the step of stats_query_range */
    /* switch(…) is expanded by the parser into one function per case; these keep its shape for the
     * printer: cases of one switch share a nonzero number, the default has switch_default. */
    uint32_t switch_id;
    bool switch_default;
    struct ks_lq_filter *switch_cond; /* the text of its own case; cond holds !earlier & own */
};

enum ks_lq_bucket_unit {
    KS_LQ_BUCKET_NONE,
    KS_LQ_BUCKET_SIZE, /* size, offset: numbers, ns for durations */
    KS_LQ_BUCKET_WEEK, /* begins on Monday; offset ns */
    KS_LQ_BUCKET_MONTH,
    KS_LQ_BUCKET_YEAR
};
struct ks_lq_by {
    struct ks_slice name;
    enum ks_lq_bucket_unit unit;
    struct ks_slice bucket_text, offset_text; /* as given: "5m", "1_000KiB", "/24", "day" */
    double size, offset;
};

/* ---------------------------------------------------------------- math */

enum ks_lq_math_kind {
    KS_LQ_M_CONST,
    KS_LQ_M_FIELD,
    KS_LQ_M_PLUS,
    KS_LQ_M_MINUS,
    KS_LQ_M_MUL,
    KS_LQ_M_DIV,
    KS_LQ_M_MOD,
    KS_LQ_M_POW,
    KS_LQ_M_AND, /* bitwise &, or, xor */
    KS_LQ_M_OR,
    KS_LQ_M_XOR,
    KS_LQ_M_DEFAULT,
    KS_LQ_M_UNARY_MINUS,
    KS_LQ_M_ABS,
    KS_LQ_M_CEIL,
    KS_LQ_M_EXP,
    KS_LQ_M_FLOOR,
    KS_LQ_M_LN,
    KS_LQ_M_MAX,
    KS_LQ_M_MIN,
    KS_LQ_M_NOW,
    KS_LQ_M_RAND,
    KS_LQ_M_ROUND
};
struct ks_lq_math {
    enum ks_lq_math_kind kind;
    double value;         /* CONST */
    struct ks_slice text; /* CONST as written; FIELD: its name */
    struct ks_lq_math **args;
    size_t arg_count;
    bool parens; /* it stood in parentheses: printing keeps them */
};
struct ks_lq_math_entry {
    struct ks_lq_math *expr;
    struct ks_slice result; /* given or the canonical text of expr */
};

/* ---------------------------------------------------------------- patterns */

/* A step of extract and format: literal text, then a field; the last one may have no field. Literal
 * text is HTML-unescaped. */
struct ks_lq_pattern_step {
    struct ks_slice prefix;
    struct ks_slice field; /* "" none (or <_>, <*>, <>) */
    struct ks_slice opt;   /* <opt:field>: plain, q, uc, … */
    bool has_field;        /* false: literal only; true with field "": an anonymous field */
};
struct ks_lq_pattern {
    struct ks_slice text;
    struct ks_lq_pattern_step *steps;
    size_t count;
};

/* ---------------------------------------------------------------- pipes */

/* X(name, ENUM): canonical names. Aliases are the parser's. */
#define KS_LQ_PIPE_TABLE(X)                                                                        \
    X(block_stats, BLOCK_STATS)                                                                    \
    X(blocks_count, BLOCKS_COUNT)                                                                  \
    X(coalesce, COALESCE)                                                                          \
    X(collapse_nums, COLLAPSE_NUMS)                                                                \
    X(copy, COPY)                                                                                  \
    X(decolorize, DECOLORIZE)                                                                      \
    X(delete, DELETE)                                                                              \
    X(drop_empty_fields, DROP_EMPTY_FIELDS)                                                        \
    X(extract, EXTRACT)                                                                            \
    X(extract_regexp, EXTRACT_REGEXP)                                                              \
    X(facets, FACETS)                                                                              \
    X(field_names, FIELD_NAMES)                                                                    \
    X(field_values, FIELD_VALUES)                                                                  \
    X(fields, FIELDS)                                                                              \
    X(filter, FILTER)                                                                              \
    X(first, FIRST)                                                                                \
    X(format, FORMAT)                                                                              \
    X(generate_sequence, GENERATE_SEQUENCE)                                                        \
    X(hash, HASH)                                                                                  \
    X(join, JOIN)                                                                                  \
    X(json_array_concat, JSON_ARRAY_CONCAT)                                                        \
    X(json_array_len, JSON_ARRAY_LEN)                                                              \
    X(last, LAST)                                                                                  \
    X(len, LEN)                                                                                    \
    X(limit, LIMIT)                                                                                \
    X(math, MATH)                                                                                  \
    X(offset, OFFSET)                                                                              \
    X(pack_json, PACK_JSON)                                                                        \
    X(pack_logfmt, PACK_LOGFMT)                                                                    \
    X(query_stats, QUERY_STATS)                                                                    \
    X(rename, RENAME)                                                                              \
    X(replace, REPLACE)                                                                            \
    X(replace_regexp, REPLACE_REGEXP)                                                              \
    X(running_stats, RUNNING_STATS)                                                                \
    X(sample, SAMPLE)                                                                              \
    X(set_stream_fields, SET_STREAM_FIELDS)                                                        \
    X(sort, SORT)                                                                                  \
    X(split, SPLIT)                                                                                \
    X(stats, STATS)                                                                                \
    X(stream_context, STREAM_CONTEXT)                                                              \
    X(time_add, TIME_ADD)                                                                          \
    X(top, TOP)                                                                                    \
    X(total_stats, TOTAL_STATS)                                                                    \
    X(union, UNION)                                                                                \
    X(uniq, UNIQ)                                                                                  \
    X(unpack_json, UNPACK_JSON)                                                                    \
    X(unpack_logfmt, UNPACK_LOGFMT)                                                                \
    X(unpack_syslog, UNPACK_SYSLOG)                                                                \
    X(unpack_words, UNPACK_WORDS)                                                                  \
    X(unroll, UNROLL)

enum ks_lq_pipe_kind {
#define X(name, ID) KS_LQ_P_##ID,
    KS_LQ_PIPE_TABLE(X)
#undef X
        KS_LQ_P_COUNT_OF_KINDS
};

struct ks_lq_literal_row { /* of rows({a=b}, …) */
    struct ks_lq_literal_field {
        struct ks_slice name, value;
    } * fields;
    size_t count;
};
struct ks_lq_literal_rows {
    struct ks_lq_literal_row *items;
    size_t count;
};

struct ks_lq_pipe {
    enum ks_lq_pipe_kind kind;
    /* `if (…)` of the pipes that have it, and the filter of `filter`; NULL = every row */
    struct ks_lq_filter *cond;
    bool keep_original_fields, skip_empty_results; /* extract*, format, unpack_* */
    union {
        struct { /* block_stats, drop_empty_fields, query_stats: nothing */
            char unused;
        } none;
        struct { /* copy, rename: the k-th of from to the k-th of to; both sides prefixes or none */
            struct ks_lq_field *from, *to;
            size_t count;
        } move;
        /* fields, delete; set_stream_fields (no prefixes) */
        struct ks_lq_fields fields;
        /* One column to another: decolorize and collapse_nums (from == to), hash, len,
         * json_array_len, split, unpack_words, blocks_count and field_names (to only). Defaults are
         * filled in. */
        struct {
            struct ks_slice from, to;
            struct ks_slice arg;      /* split: the separator; field_names: filter text */
            bool has_arg;             /* field_names filter … */
            bool prettify;            /* collapse_nums */
            bool drop_duplicates;     /* unpack_words */
            struct ks_lq_fields args; /* coalesce, json_array_concat */
        } map;
        struct { /* extract, extract_regexp */
            struct ks_slice from;
            struct ks_lq_pattern pattern; /* extract_regexp: text only */
        } extract;
        struct { /* format */
            struct ks_lq_pattern pattern;
            struct ks_slice to;
        } format;
        struct {                                                 /* facets */
            uint64_t limit, max_values_per_field, max_value_len; /* 10, 1000, 128 */
            bool keep_const_fields;
        } facets;
        struct {                    /* field_values; uniq */
            struct ks_lq_names by;  /* field_values: one */
            struct ks_slice filter; /* substring of the value; "" none */
            bool with_hits;         /* uniq; field_values always */
            struct ks_slice hits;   /* name of the column of hits: "hits", or longer when taken */
            uint64_t limit;         /* 0 = none */
        } uniq;
        struct { /* sort; first and last (limit of them, default 1, each partition its own) */
            struct ks_lq_sort_keys by; /* none: all fields */
            bool desc;                 /* reverses everything; of `sort` only */
            struct ks_lq_names partition_by;
            uint64_t offset, limit; /* sort: limit 0 = none. first, last: limit ≥ 1 */
            bool has_limit;         /* the text gave it */
            struct ks_slice rank;   /* column of the rank; "" none */
        } sort;
        struct { /* limit, offset, sample, generate_sequence */
            uint64_t n;
        } count;
        struct { /* join */
            struct ks_lq_names by;
            struct ks_lq_query *sub; /* or rows */
            struct ks_lq_literal_rows rows;
            bool inner;
            struct ks_slice prefix;
        } join;
        struct {                     /* union */
            struct ks_lq_query *sub; /* or rows */
            struct ks_lq_literal_rows rows;
        } unite;
        struct { /* math */
            struct ks_lq_math_entry *items;
            size_t count;
        } math;
        struct { /* pack_json, pack_logfmt; no fields = all */
            struct ks_lq_fields fields;
            struct ks_slice to;
        } pack;
        struct { /* replace, replace_regexp */
            struct ks_slice at, from, to;
            uint64_t limit; /* 0 = none */
        } replace;
        struct { /* stats, running_stats, total_stats */
            struct ks_lq_by *by;
            size_t by_count;
            struct ks_lq_func *funcs;
            size_t func_count;
            bool remote; /* stats_remote: states instead of results, for whoever merges them */
        } stats;
        struct { /* stream_context */
            uint64_t before, after;
            int64_t window_ns;           /* default 1 h */
            struct ks_slice window_text; /* "" default */
        } context;
        struct { /* time_add */
            int64_t add_ns;
            struct ks_slice text, at; /* at: "_time" */
        } time_add;
        struct {            /* top */
            uint64_t limit; /* 10 */
            bool has_limit;
            struct ks_lq_names by;
            struct ks_slice hits; /* "hits" or as given */
            struct ks_slice rank; /* "" none */
        } top;
        struct { /* unpack_json, unpack_logfmt, unpack_syslog */
            struct ks_slice from;
            struct ks_lq_fields fields;        /* none = all */
            struct ks_lq_fields preserve_keys; /* unpack_json */
            struct ks_slice result_prefix;
            struct ks_slice offset_text; /* unpack_syslog */
            int64_t offset_ns;
        } unpack;
        struct { /* unroll */
            struct ks_lq_names by;
        } unroll;
    } u;
};

/* ---------------------------------------------------------------- queries */

enum ks_lq_tristate { KS_LQ_UNSET = 0, KS_LQ_FALSE, KS_LQ_TRUE };

struct ks_lq_options {
    uint32_t concurrency;      /* 0 = not given */
    uint32_t parallel_readers; /* 0 = not given */
    enum ks_lq_tristate ignore_global_time_filter, allow_partial_response;
    int64_t time_offset_ns;
    struct ks_slice time_offset_text; /* "" = not given */
    struct ks_lq_filter *global_filter;
};

struct ks_lq_query {
    struct ks_lq_options options;
    struct ks_lq_filter *filter; /* never NULL */
    struct ks_lq_pipe *pipes;
    size_t pipe_count;
    int64_t now_ns; /* relative times were read at it */
};

#endif
