/* The program's commands. */
#ifndef KS_CMD_COMMANDS_H
#define KS_CMD_COMMANDS_H

/* Each gets the arguments behind its own name and returns the exit status. */
int ks_cmd_serve(int argc, char **argv);
int ks_cmd_block(int argc, char **argv);
int ks_cmd_wal(int argc, char **argv);
int ks_cmd_help(int argc, char **argv);

#endif
