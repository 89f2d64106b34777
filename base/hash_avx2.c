/* XXH3 with 256-bit registers; chosen at start where the processor has them. Built with -mavx2. */
#if defined(__x86_64__)
#define KS_HASH_VARIANT ksi_hash_avx2
#include "base/hash_impl.h"
#else
typedef int ksi_hash_avx2_unused; /* an empty unit is not C */
#endif
