/*
 * The parts of a log store as the engine holds them: as engine/parts.h does for metrics, refcounted
 * handles in an immutable, refcounted list. A part no list names any more is removed from disk when
 * its last reader lets go.
 */
#ifndef KS_ENGINE_LOGS_LOG_PARTS_H
#define KS_ENGINE_LOGS_LOG_PARTS_H

#include <stdatomic.h>

#include "engine/parts.h"

struct ksi_lpart_view {
    struct ksi_lpart *part;
    struct ksi_tombs *tombs; /* NULL: none */
};

struct ksi_lpart_list {
    _Atomic uint32_t refs;
    size_t count;
    struct ksi_lpart_view views[];
};

#endif
