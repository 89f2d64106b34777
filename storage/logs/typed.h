/*
 * Texts that are numbers in disguise: whole numbers, decimals, IPv4 addresses, times, hex ids. A
 * type is taken only by values whose exact text comes back from the number; others are left to
 * other encodings. One type serves all values of a vector.
 */
#ifndef KS_STORAGE_LOGS_TYPED_H
#define KS_STORAGE_LOGS_TYPED_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/slice.h"

enum ks_typed_kind {
    KS_TYPED_NONE = 0,
    KS_TYPED_INT = 1,     /* 0, -17, up to 19 digits */
    KS_TYPED_PADDED = 2,  /* digits: exactly so many, with zeros in front */
    KS_TYPED_DECIMAL = 3, /* digits: so many behind the point */
    KS_TYPED_IPV4 = 4,
    KS_TYPED_TIME = 5, /* 2026-11-21T10:00:00.123Z: separators, digits of the fraction, suffix */
    KS_TYPED_HEX = 6,  /* digits: so many; lower or upper case: not a number of 64 bits */
    KS_TYPED_UUID = 7
};

enum { KS_TYPED_SUFFIX_MAX = 6, KS_TYPED_TEXT_MAX = 64, KS_HEX_DIGITS_MAX = 128 };

struct ks_typed {
    uint8_t kind, digits;
    uint8_t date_sep, fraction_sep; /* times: 'T' or ' ', '.' or ',' */
    uint8_t suffix_len;
    bool upper; /* hex, uuid */
    char suffix[KS_TYPED_SUFFIX_MAX];
};

/* The type the value suggests; NONE when it suggests none. */
struct ks_typed ks_typed_guess(struct ks_slice value);
/* The number of a value of that type; false when it is not exactly of it. Not for HEX and UUID. */
bool ks_typed_parse(const struct ks_typed *t, struct ks_slice value, int64_t *ret);
/* Its text; returns the bytes written, at most KS_TYPED_TEXT_MAX. Any number is safe. */
size_t ks_typed_print(const struct ks_typed *t, int64_t v, char *out);
/* HEX and UUID: bytes of a value, packed to out / unpacked to text. */
size_t ks_hex_bytes(const struct ks_typed *t);
size_t ks_hex_text(const struct ks_typed *t);
bool ks_hex_pack(const struct ks_typed *t, struct ks_slice value, uint8_t *out);
void ks_hex_unpack(const struct ks_typed *t, const uint8_t *in, char *out);

/* Parameters as stored. */
void ks_typed_save(const struct ks_typed *t, struct ks_buf *out);
bool ks_typed_load(struct ks_reader *r, uint8_t kind, struct ks_typed *ret);

#endif
