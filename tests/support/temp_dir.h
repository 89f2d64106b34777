/* Folders of tests, under TMPDIR. */
#ifndef KS_TESTS_TEMP_DIR_H
#define KS_TESTS_TEMP_DIR_H

/* A fresh folder, removed by t_rmdir. */
char *t_mkdir(void);
void t_rmdir(char *dir);

/* cmocka's fixtures of a group: one folder for all of its tests, and the path of a part in it. */
int t_dir_setup(void **state);
int t_dir_teardown(void **state);
extern char t_dir[], t_part[];

#endif
