/* editor: see editor.h. */
#include "cli/editor.h"

#include <limits.h>
#include <stdio.h>

#include "base/files.h"
#include "connect/connector.h"

enum err editor_schema_put(const char *dir, struct fault *fault) {
    char path[PATH_MAX];
    struct buf text;
    if (snprintf(path, sizeof path, "%s/.schemas/connector.json", dir) >= (int)sizeof path)
        return fault_set(fault, ERR_IO, "the path is too long");
    buf_init(&text, 0);
    shape_schema(&connector_shape, &text);
    buf_char(&text, '\n');
    enum err err = buf_ok(&text) ? files_folder_above(path, fault)
                                 : fault_set(fault, ERR_NOMEM, "no memory for a schema");
    if (err == OK)
        err = files_write(path, buf_str(&text), 0666, fault);
    buf_free(&text);
    return err;
}
