/* Names of the hidden fields of a span's row, and its letters of types. */
#ifndef KS_ENGINE_TRACES_SPAN_ROWS_PRIV_H
#define KS_ENGINE_TRACES_SPAN_ROWS_PRIV_H

#include "engine/traces/span_rows.h"

#define KSI_ROW_TYPES           KS_SPAN_ROW_HIDDEN "types"
#define KSI_ROW_RAW             KS_SPAN_ROW_HIDDEN "raw"
#define KSI_ROW_RESOURCE_SCHEMA KS_SPAN_ROW_HIDDEN "resource_schema"
#define KSI_ROW_SCOPE_SCHEMA    KS_SPAN_ROW_HIDDEN "scope_schema"

enum ksi_row_type {
    KSI_ROW_STRING = 's',
    KSI_ROW_STRING_EMPTY = 'e',
    KSI_ROW_BOOL = 'b',
    KSI_ROW_INT = 'i',
    KSI_ROW_DOUBLE = 'd',
    KSI_ROW_BYTES = 'y',
    KSI_ROW_UNSET = 'n',
};

#endif
