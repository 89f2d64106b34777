/* The file of a part's deleted rows. Format: docs/format/tombstones.md. */
#ifndef KS_ENGINE_TOMBS_FILE_H
#define KS_ENGINE_TOMBS_FILE_H

#include "engine/parts.h"

KS_NODISCARD ks_err ksi_tombs_store(struct ks_vfs *vfs, const char *path,
                                    const roaring_bitmap_t *rows);
KS_NODISCARD ks_err ksi_tombs_load(struct ks_vfs *vfs, const char *path, struct ksi_tombs **ret);
void ksi_tombs_encode(const roaring_bitmap_t *rows, struct ks_buf *out);
/* Bytes of such a file, hostile. */
KS_NODISCARD ks_err ksi_tombs_parse(struct ks_slice bytes, roaring_bitmap_t **ret);

#endif
