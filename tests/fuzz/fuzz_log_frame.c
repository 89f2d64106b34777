/* Records of log rows from hostile bytes: what is taken can be walked to its end. */
#include <stdint.h>

#include "engine/logs/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ks_arena arena;
    struct ksi_frame *f;
    struct ks_slice store;
    ks_arena_init(&arena, 64 << 20);
    if (ksi_frame_store(ks_slice(data, size), &store) == KS_OK &&
        ksi_frame_parse(ks_slice(data, size), &arena, &f) == KS_OK) {
        struct ksi_row_iter it = ksi_rows(f);
        struct ksi_row_iter heads = ksi_rows(f);
        uint64_t rows = 0, sum = 0;
        while (ksi_row_next(&it)) {
            ksi_row_head(&heads, f, (uint32_t)rows);
            KS_ASSERT(heads.time_ns == it.time_ns && heads.stream == it.stream &&
                      heads.fields_left == it.fields_left && heads.r.p == it.r.p);
            uint32_t name;
            struct ks_slice value;
            rows++;
            sum += f->streams[it.stream].id.lo;
            while (ksi_row_field(&it, &name, &value))
                for (size_t i = 0; i < value.len; i++)
                    sum += (uint8_t)value.ptr[i] + f->names[name].len;
        }
        KS_ASSERT(rows == f->row_count);
        __asm__ volatile("" : : "r"(sum)); /* the reads are not optimised away */
    }
    ks_arena_done(&arena);
    return 0;
}
