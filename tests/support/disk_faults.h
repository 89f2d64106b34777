/* Which calls of the simulated disk are made to fail, and how: one after the other, once and from
 * then on. */
#ifndef KS_TESTS_DISK_FAULTS_H
#define KS_TESTS_DISK_FAULTS_H

#include "sys/simdisk.h"

/* err: KS_EIO, which any call may give, or KS_ENOSPC, for calls that take room. */
static inline void each_disk_fault(void (*fail_calls)(unsigned kind, ks_err err, bool sticky),
                                   ks_err err)
{
    static const unsigned kinds[] = {KS_SIM_WRITE,  KS_SIM_SYNC, KS_SIM_RENAME, KS_SIM_MKDIR,
                                     KS_SIM_CREATE, /* up to here: take room */
                                     KS_SIM_OPEN,   KS_SIM_READ, KS_SIM_UNLINK, KS_SIM_LIST};
    size_t n = err == KS_ENOSPC ? 5 : sizeof kinds / sizeof *kinds;
    for (size_t i = 0; i < n; i++)
        for (int sticky = 0; sticky < 2; sticky++)
            fail_calls(kinds[i], err, sticky);
}

#endif
