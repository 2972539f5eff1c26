/* commands: every command of the program, each defined in the file of its name. */
#ifndef PENSTOCK_CLI_COMMANDS_H
#define PENSTOCK_CLI_COMMANDS_H

#include "cli/cli.h"

/* One a line, sorted: a new one is a new line. */
extern const struct cli_command approvals_command;
extern const struct cli_command asyncapi_command;
extern const struct cli_command audit_command;
extern const struct cli_command check_command;
extern const struct cli_command codes_command;
extern const struct cli_command contracts_command;
extern const struct cli_command demo_command;
extern const struct cli_command erase_command;
extern const struct cli_command exceptions_command;
extern const struct cli_command held_command;
extern const struct cli_command subscriptions_command;
extern const struct cli_command help_command;
extern const struct cli_command init_command;
extern const struct cli_command journal_command;
extern const struct cli_command key_command;
extern const struct cli_command connector_command, map_command;
extern const struct cli_command metrics_command;
extern const struct cli_command openapi_command;
extern const struct cli_command read_model_command;
extern const struct cli_command replay_command;
extern const struct cli_command sandbox_command;
extern const struct cli_command schema_command;
extern const struct cli_command serve_command;
extern const struct cli_command settings_command;
extern const struct cli_command trace_command;

#endif
