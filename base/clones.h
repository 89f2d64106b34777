/*
 * A second body of a function for CPUs with AVX2 and BMI2 (x86-64-v3), chosen when the program is
 * loaded. For loops over integers and lone IEEE operations, whose results are equal in both:
 * nothing is contracted to fused operations (CMakeLists.txt).
 */
#ifndef KS_BASE_CLONES_H
#define KS_BASE_CLONES_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(KS_SANITIZED)
#define KS_HAS_CLONES
#define KS_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define KS_CLONES
#endif

#endif
