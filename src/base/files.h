/* files: the few things done with whole files and folders: configuration, fixtures, keys. What must
 * survive a crash piece by piece is SQLite's. */
#ifndef PENSTOCK_BASE_FILES_H
#define PENSTOCK_BASE_FILES_H

#include "base/buf.h"
#include "base/err.h"

/* Makes the folder and those above it. ERR_IO. */
enum err files_folder(const char *path, struct fault *fault) WARN_UNUSED;
/* Makes the folders above a file. */
enum err files_folder_above(const char *path, struct fault *fault) WARN_UNUSED;
bool files_exist(const char *path);
/* Missing, or a folder with nothing in it. ERR_IO where it is something else. */
enum err files_folder_empty(const char *path, bool *empty, struct fault *fault) WARN_UNUSED;
/* Writes the whole file or, on error, leaves what was there: by a new file that takes its
 * place. mode as in chmod. */
enum err files_write(const char *path, struct str text, unsigned mode,
                     struct fault *fault) WARN_UNUSED;
/* The same without waiting for the disk: a power cut may lose it. For what can be made again. */
enum err files_write_fast(const char *path, struct str text, unsigned mode,
                          struct fault *fault) WARN_UNUSED;
/* Appends the whole file, at most out->max bytes. ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE. */
enum err files_read(const char *path, struct buf *out, struct fault *fault) WARN_UNUSED;
/* Takes away a folder and all in it; follows no links. */
enum err files_remove(const char *path, struct fault *fault) WARN_UNUSED;

/* A key of `len` bytes in hex digits, from the environment variable NAME, or from the file that
 * NAME_FILE names. *found false where neither is set. ERR_INVALID: it is no such key; ERR_IO. Nothing
 * of it is ever shown. */
enum err files_key(const char *name, uint8_t *out, size_t len, bool *found,
                   struct fault *fault) WARN_UNUSED;

#endif
