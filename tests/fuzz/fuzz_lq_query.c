/*
 * Whole LogsQL queries over rows: "<query>\n<row as JSON>\n…". Memory and time are capped, so a
 * query ends with rows or a clean error. What is not random in it must not depend on the layout of
 * rows: that is the property test's business (test_pipes_random).
 */
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "lq_rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct lq_layout layouts[] = {
        {.memory_max = 8 << 20, .timeout_ms = 100},
        {.seed = 5, .block_rows = 2, .memory_max = 8 << 20, .timeout_ms = 100}};
    if (size > 1 << 14 || memchr(data, 0, size))
        return 0;
    char *text = ks_memdup(data, size);
    char *end = strchr(text, '\n');
    if (end)
        *end = 0;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        ks_free(lq_rows_query(text, end ? end + 1 : "", &layouts[i], false));
    ks_free(text);
    return 0;
}
