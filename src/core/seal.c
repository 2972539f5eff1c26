/* seal: see seal.h. Owns contexts to encrypt and to pack, per thread; holds no keys. */
#include "core/seal.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/mem.h"

#define NONCE_BYTES 12
#define TAG_BYTES 16

/* --- the cipher ---------------------------------------------------------------------------- */

static pthread_once_t cipher_once = PTHREAD_ONCE_INIT;
static pthread_key_t cipher_key;
static EVP_CIPHER *gcm, *ecb;

/* A thread's own. To set a key in a context that has its cipher already costs no memory. */
struct contexts {
    EVP_CIPHER_CTX *box, *block;
    ZSTD_CCtx *pack;   /* NULL: not needed yet */
    ZSTD_DCtx *unpack; /* likewise */
};

static void contexts_free(void *ctx) {
    struct contexts *contexts = ctx;
    EVP_CIPHER_CTX_free(contexts->box);
    EVP_CIPHER_CTX_free(contexts->block);
    ZSTD_freeCCtx(contexts->pack);
    ZSTD_freeDCtx(contexts->unpack);
    mem_free(contexts);
}

static void cipher_make(void) {
    gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    ecb = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
    must(gcm && ecb && pthread_key_create(&cipher_key, contexts_free) == 0);
}

/* NULL when memory is out. */
static struct contexts *contexts_get(void) {
    pthread_once(&cipher_once, cipher_make);
    struct contexts *contexts = pthread_getspecific(cipher_key);
    if (contexts)
        return contexts;
    contexts = mem_zalloc(sizeof *contexts);
    if (!contexts)
        return NULL;
    contexts->box = EVP_CIPHER_CTX_new();
    contexts->block = EVP_CIPHER_CTX_new();
    if (!contexts->box || !contexts->block ||
        EVP_EncryptInit_ex(contexts->box, gcm, NULL, NULL, NULL) != 1 ||
        EVP_EncryptInit_ex(contexts->block, ecb, NULL, NULL, NULL) != 1 ||
        EVP_CIPHER_CTX_set_padding(contexts->block, 0) != 1 ||
        pthread_setspecific(cipher_key, contexts) != 0) {
        contexts_free(contexts);
        return NULL;
    }
    return contexts;
}

/* What a box is bound to: "order.capture\nC-1001\n4711". */
static struct str binding(struct arena *arena, struct str command, struct str person,
                          uint64_t key) {
    return arena_printf(arena, "%.*s\n%.*s\n%llu", STR_FMT(command), STR_FMT(person),
                        (unsigned long long)key);
}

/* `at`: nonce, text, room for the tag. */
static bool encrypt(const struct seal_key *key, struct str bound, uint8_t *at, size_t len) {
    struct contexts *contexts = contexts_get();
    EVP_CIPHER_CTX *ctx = contexts ? contexts->box : NULL;
    uint8_t *text = at + NONCE_BYTES;
    int n;
    return ctx && EVP_EncryptInit_ex(ctx, NULL, NULL, key->bytes, at) == 1 &&
           EVP_EncryptUpdate(ctx, NULL, &n, (const uint8_t *)bound.ptr, (int)bound.len) == 1 &&
           EVP_EncryptUpdate(ctx, text, &n, text, (int)len) == 1 && n == (int)len &&
           EVP_EncryptFinal_ex(ctx, text + len, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, text + len) == 1;
}

/* Decrypts in place; false where the tag does not fit. */
static bool decrypt(const struct seal_key *key, struct str bound, uint8_t *at, size_t len) {
    struct contexts *contexts = contexts_get();
    EVP_CIPHER_CTX *ctx = contexts ? contexts->box : NULL;
    uint8_t *text = at + NONCE_BYTES;
    int n;
    return ctx && EVP_DecryptInit_ex(ctx, NULL, NULL, key->bytes, at) == 1 &&
           EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)bound.ptr, (int)bound.len) == 1 &&
           EVP_DecryptUpdate(ctx, text, &n, text, (int)len) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, text + len) == 1 &&
           EVP_DecryptFinal_ex(ctx, text + len, &n) == 1;
}

struct hash128 seal_blind(const uint8_t secret[SEAL_KEY_BYTES], struct hash128 hash) {
    struct contexts *contexts = contexts_get();
    uint8_t block[16];
    int n;
    memcpy(block, &hash, sizeof block);
    must(contexts && EVP_EncryptInit_ex(contexts->block, NULL, NULL, secret, NULL) == 1 &&
         EVP_EncryptUpdate(contexts->block, block, &n, block, sizeof block) == 1 &&
         n == sizeof block);
    memcpy(&hash, block, sizeof block);
    return hash;
}

bool seal_wrap(const uint8_t master[SEAL_KEY_BYTES], struct str bound, struct rng *rng,
               const uint8_t secret[SEAL_KEY_BYTES], uint8_t out[SEAL_WRAPPED_BYTES]) {
    struct seal_key key = {0};
    memcpy(key.bytes, master, SEAL_KEY_BYTES);
    rng_fill(rng, out, NONCE_BYTES);
    memcpy(out + NONCE_BYTES, secret, SEAL_KEY_BYTES);
    bool good = encrypt(&key, bound, out, SEAL_KEY_BYTES);
    OPENSSL_cleanse(&key, sizeof key);
    return good;
}

bool seal_unwrap(const uint8_t master[SEAL_KEY_BYTES], struct str bound,
                 const uint8_t wrapped[SEAL_WRAPPED_BYTES], uint8_t out[SEAL_KEY_BYTES]) {
    struct seal_key key = {0};
    uint8_t work[SEAL_WRAPPED_BYTES];
    memcpy(key.bytes, master, SEAL_KEY_BYTES);
    memcpy(work, wrapped, sizeof work);
    bool good = decrypt(&key, bound, work, SEAL_KEY_BYTES);
    if (good)
        memcpy(out, work + NONCE_BYTES, SEAL_KEY_BYTES);
    OPENSSL_cleanse(&key, sizeof key);
    OPENSSL_cleanse(work, sizeof work);
    return good;
}

/* --- packing -------------------------------------------------------------------------------- */

/* What is encrypted can not be packed later, and a payload is most of what a journal keeps. Shorter ones
 * (a customer and an address) gain too little. */
#define PACK_MIN 1024
#define PACK_LEVEL (-3) /* a third of the size at 1.2 ns a byte; level 1: a quarter, at twice that */
#define PACK_HASH_LOG 11 /* a table of 8 KB in place of 64: it is emptied for each, and pushes less out of
                            the caches of a loop */

/* Personal members are an object and begin with a brace; a frame of Zstandard (RFC 8878) begins so: */
static bool is_packed(const uint8_t *text, size_t len) {
    static const uint8_t magic[] = {0x28, 0xB5, 0x2F, 0xFD};
    return len >= sizeof magic && memcmp(text, magic, sizeof magic) == 0;
}

/* Into `to`, which has room for the text; answers the length there, of the text as it is where it would
 * not be shorter. */
static size_t text_pack(struct str text, uint8_t *to) {
    struct contexts *contexts = text.len >= PACK_MIN ? contexts_get() : NULL;
    if (contexts && !contexts->pack) {
        contexts->pack = ZSTD_createCCtx();
        if (contexts->pack) {
            ZSTD_CCtx_setParameter(contexts->pack, ZSTD_c_compressionLevel, PACK_LEVEL);
            ZSTD_CCtx_setParameter(contexts->pack, ZSTD_c_hashLog, PACK_HASH_LOG);
        }
    }
    if (contexts && contexts->pack) {
        size_t len = ZSTD_compress2(contexts->pack, to, text.len - 1, text.ptr, text.len);
        if (!ZSTD_isError(len))
            return len;
    }
    memcpy(to, text.ptr, text.len);
    return text.len;
}

/* `packed` whole again, in the arena. */
static enum err text_unpack(struct str packed, struct arena *arena, struct str *out, struct fault *fault) {
    struct contexts *contexts = contexts_get();
    unsigned long long len = ZSTD_getFrameContentSize(packed.ptr, packed.len);
    if (len > INT32_MAX) /* unknown, or an error, is more */
        return fault_set(fault, ERR_DAMAGED, "the sealed part of an event is not what was packed");
    if (contexts && !contexts->unpack)
        contexts->unpack = ZSTD_createDCtx();
    char *text = contexts && contexts->unpack ? arena_bytes(arena, (size_t)len + 1) : NULL;
    if (!text)
        return fault_set(fault, ERR_NOMEM, "no memory to unpack a sealed document");
    if (ZSTD_decompressDCtx(contexts->unpack, text, (size_t)len, packed.ptr, packed.len) != len)
        return fault_set(fault, ERR_DAMAGED, "the sealed part of an event is not what was packed");
    *out = str_of(text, (size_t)len);
    return OK;
}

/* --- boxes --------------------------------------------------------------------------------- */

enum err seal_close(struct keyring *keyring, struct str command, struct str person,
                    struct str personal, struct arena *arena, struct sealed *out,
                    struct fault *fault) {
    struct seal_key key;
    size_t len = NONCE_BYTES + personal.len + TAG_BYTES;
    *out = (struct sealed){.person = person};
    if (len > INT32_MAX)
        return fault_set(fault, ERR_TOO_LARGE, "the document is too large to be sealed");
    enum err err = keyring->ops->take(keyring, &key, fault);
    if (err != OK)
        return err;
    uint8_t *bytes = (uint8_t *)arena_bytes(arena, len);
    struct str bound = binding(arena, command, person, key.number);
    if (bytes && bound.ptr) {
        rng_fill(keyring->rng, bytes, NONCE_BYTES);
        size_t packed = text_pack(personal, bytes + NONCE_BYTES);
        len = NONCE_BYTES + packed + TAG_BYTES;
        char *text = arena_bytes(arena, base64_len(len));
        if (text && encrypt(&key, bound, bytes, packed)) {
            base64_put(text, str_of((char *)bytes, len));
            out->box = str_of(text, base64_len(len));
        }
    }
    out->key = (int64_t)key.number;
    OPENSSL_cleanse(&key, sizeof key);
    return out->box.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory to seal the document");
}

enum err seal_open(struct keyring *keyring, const struct event_meta *meta, struct arena *arena,
                   struct str *personal, struct fault *fault) {
    struct seal_key key;
    struct fault ignored = {0};
    *personal = STR_NONE;
    if (!meta->sealed.len || !keyring)
        return OK;
    enum err err = keyring->ops->find(keyring, (uint64_t)meta->key, &key, &ignored);
    if (err == ERR_NOT_FOUND)
        return OK;
    if (err != OK)
        return fault_set(fault, err, "%s", ignored.detail);
    struct str bytes = base64_read(arena, meta->sealed);
    struct str bound = binding(arena, meta->command, meta->person, key.number);
    bool good = bytes.len >= NONCE_BYTES + TAG_BYTES && bound.ptr;
    size_t len = good ? bytes.len - NONCE_BYTES - TAG_BYTES : 0;
    good = good && decrypt(&key, bound, (uint8_t *)(uintptr_t)bytes.ptr, len);
    OPENSSL_cleanse(&key, sizeof key);
    if (!good)
        return fault_set(fault, ERR_DAMAGED, "the sealed part of event %lld can not be opened: it "
                         "is not what was written", (long long)meta->first);
    *personal = str_of(bytes.ptr + NONCE_BYTES, len);
    return is_packed((const uint8_t *)personal->ptr, len) ? text_unpack(*personal, arena, personal, fault) : OK;
}

enum err seal_have(struct keyring *keyring, const struct event_meta *meta, bool *there,
                   struct fault *fault) {
    struct fault why = {0};
    *there = false;
    if (!meta->sealed.len || !keyring)
        return OK;
    enum err err = keyring->ops->have(keyring, (uint64_t)meta->key, &why);
    *there = err == OK;
    return err == OK || err == ERR_NOT_FOUND ? OK : fault_set(fault, err, "%s", why.detail);
}

/* --- putting a document together again -------------------------------------------------- */

static void text_write(struct buf *out, const struct json *value) {
    if (value->kind == JSON_OBJECT || value->kind == JSON_ARRAY)
        buf_str_add(out, value->text);
    else
        json_write(out, value);
}

static void join(struct buf *out, const struct json *part, const struct json *personal);

static void join_list(struct buf *out, const struct json *list, const struct json *personal) {
    const struct json *item = json_first(list);
    const struct json *key = personal->count ? json_first(personal) : NULL;
    uint32_t left = personal->count;
    buf_char(out, '[');
    for (uint32_t i = 0; i < list->count; i++, item = json_next(item)) {
        uint64_t at;
        if (i)
            buf_char(out, ',');
        /* the personal items come in order */
        bool here = left > 0 && str_u64(key->text, &at) && at == i;
        join(out, item, here ? json_next(key) : NULL);
        if (here) {
            left--;
            key = json_next(json_next(key));
        }
    }
    buf_char(out, ']');
}

static void join_object(struct buf *out, const struct json *part, const struct json *personal) {
    char before = '{';
    const struct json *key = json_first(part);
    for (uint32_t i = 0; i < part->count; i++) {
        const struct json *value = json_next(key);
        buf_char(out, before);
        before = ',';
        buf_json_str(out, key->text);
        buf_char(out, ':');
        join(out, value, json_member(personal, key->text));
        key = json_next(value);
    }
    key = json_first(personal);
    for (uint32_t i = 0; i < personal->count; i++) {
        const struct json *value = json_next(key);
        if (!json_member(part, key->text)) {
            buf_char(out, before);
            before = ',';
            buf_json_str(out, key->text);
            buf_char(out, ':');
            text_write(out, value);
        }
        key = json_next(value);
    }
    if (before == '{')
        buf_char(out, '{');
    buf_char(out, '}');
}

/* A part of the document with what is personal in it. */
static void join(struct buf *out, const struct json *part, const struct json *personal) {
    if (personal && personal->kind == JSON_OBJECT && part->kind == JSON_OBJECT)
        join_object(out, part, personal);
    else if (personal && personal->kind == JSON_OBJECT && part->kind == JSON_ARRAY)
        join_list(out, part, personal);
    else
        text_write(out, part);
}

/* The data, and at the member `at` (absent: all of it) what is personal. */
static void join_at(struct buf *out, const struct json *data, struct str at,
                    const struct json *personal) {
    if (!at.len) {
        join(out, data, personal);
        return;
    }
    const struct json *key = json_first(data);
    buf_char(out, '{');
    for (uint32_t i = 0; i < data->count; i++) {
        const struct json *value = json_next(key);
        if (i)
            buf_char(out, ',');
        buf_json_str(out, key->text);
        buf_char(out, ':');
        join(out, value, str_eq(key->text, at) ? personal : NULL);
        key = json_next(value);
    }
    buf_char(out, '}');
}

enum err seal_data(struct keyring *keyring, const struct record *record,
                   const struct event_meta *meta, struct json_parser *parser,
                   struct arena *arena, struct str *data, struct fault *fault) {
    const struct json *public, *personal;
    struct str text;
    struct buf out;
    *data = record->data;
    enum err err = seal_open(keyring, meta, arena, &text, fault);
    if (err != OK || !text.ptr)
        return err;
    err = json_parse(parser, arena, record->data, false, &public, fault);
    if (err == OK)
        err = json_parse(parser, arena, text, false, &personal, fault);
    if (err != OK)
        return err;
    if (public->kind != JSON_OBJECT || personal->kind != JSON_OBJECT)
        return fault_set(fault, ERR_DAMAGED, "event %llu is no document",
                         (unsigned long long)record->seq);
    buf_init(&out, 0);
    buf_reserve(&out, record->data.len + text.len + 64);
    join_at(&out, public, meta->sealed_at, personal);
    *data = buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return data->ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for the document");
}

enum err seal_record(struct keyring *keyring, const struct record *record,
                     struct json_parser *parser, struct arena *arena, struct str *data,
                     struct fault *fault) {
    struct event_meta meta;
    *data = record->data;
    if (!keyring)
        return OK;
    enum err err = event_meta_load(record->meta, parser, arena, &meta, fault);
    return err == OK ? seal_data(keyring, record, &meta, parser, arena, data, fault) : err;
}

/* --- what others repeat -------------------------------------------------------------------- */

/* Takes every `value` out of the text in the buffer. */
static bool mask_one(struct buf *text, struct str value, struct buf *spare) {
    if (!text->len || !memmem(text->data, text->len, value.ptr, value.len))
        return true;
    const char *at = text->data, *end = text->data + text->len, *hit;
    buf_clear(spare);
    while ((hit = memmem(at, (size_t)(end - at), value.ptr, value.len)) != NULL) {
        buf_add(spare, at, (size_t)(hit - at));
        buf_lit(spare, "…");
        at = hit + value.len;
    }
    buf_add(spare, at, (size_t)(end - at));
    struct buf was = *text;
    *text = *spare;
    *spare = was;
    return buf_ok(text);
}

#define MASK_VALUES_MAX 512
struct values {
    struct str items[MASK_VALUES_MAX];
    uint32_t count;
    bool full;
};

/* Values alone: the names of members are ours, and what is said may well name them. */
static void values_collect(struct values *values, const struct json *at) {
    size_t least = at->kind == JSON_STRING ? SEAL_MASK_MIN : SEAL_MASK_NUMBER_MIN;
    const struct json *child = json_first(at);
    switch ((enum json_kind)at->kind) {
    case JSON_STRING:
    case JSON_NUMBER:
        if (at->text.len < least)
            return;
        values->full = values->count == MASK_VALUES_MAX;
        if (!values->full)
            values->items[values->count++] = at->text;
        return;
    case JSON_ARRAY:
        for (uint32_t i = 0; i < at->count && !values->full; i++, child = json_next(child))
            values_collect(values, child);
        return;
    case JSON_OBJECT:
        for (uint32_t i = 0; i < at->count && !values->full; i++) {
            values_collect(values, json_next(child));
            child = json_next(json_next(child));
        }
        return;
    case JSON_NULL:
    case JSON_BOOL: return;
    }
}

/* The longest first, so that none leaves a rest of another that holds it. */
static int longer_first(const void *a, const void *b) {
    size_t left = ((const struct str *)a)->len, right = ((const struct str *)b)->len;
    return left < right ? 1 : left > right ? -1 : 0;
}

/* The text may have been cut within a value: its beginning goes as well. */
static void mask_end(struct buf *text, const struct values *values) {
    for (uint32_t i = 0; i < values->count; i++) {
        struct str value = values->items[i];
        size_t most = value.len < text->len ? value.len : text->len;
        for (size_t n = most; n >= SEAL_MASK_MIN; n--)
            if (memcmp(text->data + text->len - n, value.ptr, n) == 0) {
                text->len -= n;
                buf_lit(text, "…");
                return;
            }
    }
}

static struct str values_mask(struct str text, struct values *values, struct arena *arena) {
    struct buf out, spare;
    if (values->full) /* too many to look for each */
        return STR("…");
    qsort(values->items, values->count, sizeof *values->items, longer_first);
    buf_init(&out, 0);
    buf_init(&spare, 0);
    buf_str_add(&out, text);
    bool good = buf_ok(&out);
    for (uint32_t i = 0; good && i < values->count; i++)
        good = mask_one(&out, values->items[i], &spare);
    if (good)
        mask_end(&out, values);
    struct str masked = good ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    buf_free(&spare);
    return masked;
}

struct str seal_mask(struct str text, const struct json *personal, struct arena *arena) {
    struct values *values = arena_new(arena, struct values);
    if (!values)
        return STR_NONE;
    if (personal)
        values_collect(values, personal);
    return values_mask(text, values, arena);
}

/* Whether what stands under this name is likely to be about a person. */
static bool name_is_personal(struct str name) {
    static const char *const parts[] = {"mail",    "phone",  "address", "street", "zip",
                                        "postal",  "city",   "customer", "buyer", "recipient",
                                        "contact", "first_name", "last_name", "birth", "note",
                                        "ship_to", "bill_to", "message"};
    char lower[64];
    size_t len = name.len < sizeof lower ? name.len : sizeof lower;
    for (size_t i = 0; i < len; i++)
        lower[i] = (char)(name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? name.ptr[i] | 32
                                                                   : name.ptr[i]);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (memmem(lower, len, parts[i], strlen(parts[i])))
            return true;
    return false;
}

static void likely_collect(struct values *values, const struct json *at) {
    const struct json *child = json_first(at);
    if (at->kind == JSON_ARRAY)
        for (uint32_t i = 0; i < at->count && !values->full; i++, child = json_next(child))
            likely_collect(values, child);
    if (at->kind == JSON_OBJECT)
        for (uint32_t i = 0; i < at->count && !values->full; i++) {
            const struct json *value = json_next(child);
            if (name_is_personal(child->text))
                values_collect(values, value);
            else
                likely_collect(values, value);
            child = json_next(value);
        }
}

struct str seal_mask_likely(struct str text, const struct json *document, struct arena *arena) {
    struct values *values = arena_new(arena, struct values);
    if (!values)
        return STR_NONE;
    if (document)
        likely_collect(values, document);
    return values_mask(text, values, arena);
}

struct str seal_mask_event(struct keyring *keyring, const struct record *record, struct str text,
                           struct json_parser *parser, struct arena *arena) {
    struct event_meta meta;
    struct fault ignored = {0};
    struct str personal = STR_NONE;
    const struct json *nodes = NULL;
    enum err err = event_meta_load(record->meta, parser, arena, &meta, &ignored);
    if (err == OK)
        err = seal_open(keyring, &meta, arena, &personal, &ignored);
    if (err == OK && !personal.ptr)
        return text;
    if (err == OK)
        err = json_parse(parser, arena, personal, false, &nodes, &ignored);
    return err == OK ? seal_mask(text, nodes, arena) : STR("…");
}
