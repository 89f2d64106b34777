#include "temp_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "sys/vfs.h"

char t_dir[200], t_part[sizeof t_dir + 8];

char *t_mkdir(void)
{
    const char *tmp = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/kofstore-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        abort();
    return ks_strdup(path);
}

void t_rmdir(char *dir)
{
    (void)!ks_vfs_remove_tree(ks_vfs_posix(), dir);
    ks_free(dir);
}

int t_dir_setup(void **state)
{
    char *dir = t_mkdir();
    if (!dir || strlen(dir) >= sizeof t_dir)
        return -1;
    strcpy(t_dir, dir);
    snprintf(t_part, sizeof t_part, "%s/p.part", t_dir);
    ks_free(dir);
    return 0;
}

int t_dir_teardown(void **state)
{
    return ks_vfs_remove_tree(ks_vfs_posix(), t_dir) == KS_OK ? 0 : -1;
}
