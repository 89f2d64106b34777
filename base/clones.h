/*
 * A second body of a function for CPUs with AVX2, chosen when the program is loaded. For loops over
 * integers and lone IEEE operations, whose results are equal in both.
 */
#ifndef KS_BASE_CLONES_H
#define KS_BASE_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(KS_SANITIZED)
#define KS_HAS_CLONES
#define KS_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define KS_CLONES
#endif

#endif
