/* Names by the rules of OpenTelemetry's Prometheus translation, as VictoriaMetrics has them. */
#include "api/ingest/otlp_priv.h"

static bool is_letter(char c)
{
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

void ksi_otlp_label_name(struct ks_slice name, struct ks_buf *out)
{
    ks_buf_reset(out);
    if (!name.len)
        return;
    bool underscore = !is_letter(name.ptr[0]) || name.ptr[0] == '_';
    bool second = name.len > 1 && !(is_letter(name.ptr[1]) || is_digit(name.ptr[1]));
    second |= name.len > 1 && name.ptr[1] == '_';
    if (is_digit(name.ptr[0]))
        ks_buf_str(out, "key_");
    else if (underscore && !second)
        ks_buf_str(out, "key");
    for (size_t i = 0; i < name.len; i++)
        ks_buf_byte(out,
                    is_letter(name.ptr[i]) || is_digit(name.ptr[i]) ? (uint8_t)name.ptr[i] : '_');
}

static const struct {
    const char *unit, *word;
} units[] =
    {
        {"d", "days"},
        {"h", "hours"},
        {"min", "minutes"},
        {"s", "seconds"},
        {"ms", "milliseconds"},
        {"us", "microseconds"},
        {"ns", "nanoseconds"},
        {"By", "bytes"},
        {"KiBy", "kibibytes"},
        {"MiBy", "mebibytes"},
        {"GiBy", "gibibytes"},
        {"TiBy", "tibibytes"},
        {"KBy", "kilobytes"},
        {"MBy", "megabytes"},
        {"GBy", "gigabytes"},
        {"TBy", "terabytes"},
        {"m", "meters"},
        {"V", "volts"},
        {"A", "amperes"},
        {"J", "joules"},
        {"W", "watts"},
        {"g", "grams"},
        {"Cel", "celsius"},
        {"Hz", "hertz"},
        {"1", ""},
        {"%", "percent"},
},
  per_units[] = {{"s", "second"}, {"m", "minute"}, {"h", "hour"}, {"d", "day"},
                 {"w", "week"},   {"mo", "month"}, {"y", "year"}};

/* The words of a name, in order. */
struct words {
    struct ks_slice w[64];
    size_t count;
};

static void add(struct words *x, struct ks_slice w)
{
    if (x->count < sizeof x->w / sizeof *x->w)
        x->w[x->count++] = w;
}

static bool has(const struct words *x, struct ks_slice w)
{
    for (size_t i = 0; i < x->count; i++)
        if (ks_slice_eq(x->w[i], w))
            return true;
    return false;
}

static void split(struct words *x, struct ks_slice name)
{
    size_t start = 0;
    for (size_t i = 0; i <= name.len; i++)
        if (i == name.len || strchr("/_.-: ", name.ptr[i])) {
            if (i > start)
                add(x, ks_slice_sub(name, start, i - start));
            start = i + 1;
        }
}

static struct ks_slice word_of(struct ks_slice unit, bool per)
{
    size_t n = per ? sizeof per_units / sizeof *per_units : sizeof units / sizeof *units;
    for (size_t i = 0; i < n; i++)
        if (ks_slice_is(unit, per ? per_units[i].unit : units[i].unit))
            return ks_slice_str(per ? per_units[i].word : units[i].word);
    return unit;
}

static void add_units(struct words *x, struct ks_slice unit)
{
    const char *slash = unit.len ? memchr(unit.ptr, '/', unit.len) : NULL;
    struct ks_slice main = ks_slice(unit.ptr, slash ? (size_t)(slash - unit.ptr) : unit.len);
    struct ks_slice per = ks_slice_from(unit, main.len + (slash != NULL));
    main = ks_slice_trim(main);
    per = ks_slice_trim(per);
    if (main.len && !memchr(main.ptr, '{', main.len)) {
        main = word_of(main, false);
        if (main.len && !has(x, main))
            add(x, main);
    }
    if (per.len && !memchr(per.ptr, '{', per.len)) {
        per = word_of(per, true);
        if (!has(x, per)) {
            add(x, KS_SLICE_LIT("per"));
            add(x, per);
        }
    }
}

static void move_to_end(struct words *x, struct ks_slice w)
{
    for (size_t i = 0; i < x->count; i++)
        if (ks_slice_eq(x->w[i], w)) {
            memmove(&x->w[i], &x->w[i + 1], (x->count - i - 1) * sizeof *x->w);
            x->count--;
            break;
        }
    add(x, w);
}

void ksi_otlp_metric_name(struct ks_slice name, struct ks_slice unit, bool counter, bool gauge,
                          struct ks_buf *out)
{
    struct words x = {.count = 0};
    split(&x, name);
    add_units(&x, unit);
    if (counter)
        move_to_end(&x, KS_SLICE_LIT("total"));
    else if (gauge && ks_slice_is(unit, "1"))
        move_to_end(&x, KS_SLICE_LIT("ratio"));
    ks_buf_reset(out);
    for (size_t i = 0; i < x.count; i++) {
        ks_buf_str(out, i ? "_" : "");
        ks_buf_slice(out, x.w[i]);
    }
}
