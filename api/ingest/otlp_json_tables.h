/*
 * Writing tables of OTLP's messages (otlp_json.h), and the messages all signals share. For the two
 * files that hold such tables: names are short on purpose.
 */
#ifndef KS_API_INGEST_OTLP_JSON_TABLES_H
#define KS_API_INGEST_OTLP_JSON_TABLES_H

#include "api/ingest/otlp_json.h"

#define M(name) static const struct ks_otlp_message name
#define F(...)                                                                                     \
    (const struct ks_otlp_field[])                                                                 \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define ONE(text, number, type)                                                                    \
    {                                                                                              \
        text, number, KS_OTLP_##type, false, NULL, NULL                                            \
    }
#define MANY(text, number, type)                                                                   \
    {                                                                                              \
        text, number, KS_OTLP_##type, true, NULL, NULL                                             \
    }
#define SUB(text, number, message)                                                                 \
    {                                                                                              \
        text, number, KS_OTLP_MESSAGE, false, &message, NULL                                       \
    }
#define SUBS(text, number, message)                                                                \
    {                                                                                              \
        text, number, KS_OTLP_MESSAGE, true, &message, NULL                                        \
    }

M(key_value);
M(any_value);
M(array_value) = {"ArrayValue", F(SUBS("values", 1, any_value))};
M(kvlist_value) = {"KeyValueList", F(SUBS("values", 1, key_value))};
M(any_value) = {"AnyValue", F(ONE("stringValue", 1, STRING), ONE("boolValue", 2, BOOL),
                              ONE("intValue", 3, VARINT), ONE("doubleValue", 4, DOUBLE),
                              SUB("arrayValue", 5, array_value),
                              SUB("kvlistValue", 6, kvlist_value), ONE("bytesValue", 7, BASE64))};
M(key_value) = {"KeyValue", F(ONE("key", 1, STRING), SUB("value", 2, any_value))};

#endif
