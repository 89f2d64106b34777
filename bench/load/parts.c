/* bench_load parts FILE…: stored bytes by section, to split data from index. */
#include <stdio.h>

#include "bench/load/load.h"
#include "storage/part.h"

int load_parts(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        struct ks_part *p;
        if (ks_part_open(ks_vfs_posix(), argv[i], NULL, &p) != KS_OK)
            die("%s: %s", argv[i], ks_err_text());
        uint64_t rest = ks_part_bytes(p);
        const char *name;
        for (size_t k = 0; (name = ks_part_section_name(p, k)); k++) {
            printf("%s %llu\n", name, (unsigned long long)ks_part_section_bytes(p, name));
            rest -= ks_part_section_bytes(p, name);
        }
        printf("container %llu\n", (unsigned long long)rest);
        ks_part_close(p);
    }
    return 0;
}
