/* Sealing: what is personal leaves the document and comes back to it; a key is destroyed alone and
 * for good, whenever the power fails; nothing of it is left in the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "../support/temp.h"
#include "../support/vfs_fault.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/seal.h"
#include "domain/list.h"
#include "retail/order.h"
#include "store/key_tree.h"
#include "store/persons.h"

struct kit {
    struct arena arena;
    struct json_parser *parser;
    struct fault fault;
    char *folder;
    char path[4096];
    struct keyring *keyring;
    struct rng_seeded rng;
};

static struct keyring *keyring_make(struct kit *kit, const char *vfs, uint32_t ready) {
    struct persons_options options = {
        .path = kit->path, .vfs = vfs, .clock = &clock_system, .rng = &kit->rng.rng,
        .ready = ready};
    struct keyring *keyring = NULL;
    if (persons_open(&options, &keyring, &kit->fault) != OK)
        return NULL;
    return keyring;
}

static int kit_make(void **state) {
    struct kit *kit = mem_zalloc(sizeof *kit);
    arena_init(&kit->arena, 0);
    fault_init(&kit->fault, &kit->arena);
    rng_seeded_init(&kit->rng, 7);
    kit->parser = json_parser_create();
    kit->folder = temp_folder();
    snprintf(kit->path, sizeof kit->path, "%s/persons.db", kit->folder);
    kit->keyring = keyring_make(kit, NULL, 1);
    *state = kit;
    return kit->keyring ? 0 : -1;
}

static int kit_free(void **state) {
    struct kit *kit = *state;
    keyring_close(kit->keyring);
    json_parser_destroy(kit->parser);
    arena_free(&kit->arena);
    temp_remove(kit->folder);
    mem_free(kit);
    return 0;
}

/* --- taking a document apart, and putting it together again -------------------------------- */

static const char whole[] =
    "{\"channel\":\"web-de\",\"channel_order_id\":\"1\",\"placed_at\":\"2026-11-23T09:15:00+01:00\","
    "\"currency\":\"EUR\",\"customer\":{\"customer_id\":\"C-1\",\"email\":\"ann@example.org\","
    "\"name\":\"Ann \\\"A.\\\" Exämple\"},\"ship_to\":{\"name\":\"Ann\",\"street\":[\"Hafenstr. 1\","
    "\"c/o Ben\"],\"city\":\"Hamburg\",\"region\":\"HH\",\"country\":\"DE\"},"
    "\"bill_to\":{\"country\":\"DE\"},\"lines\":[{\"line_id\":\"1\",\"sku\":\"A\",\"quantity\":\"1\","
    "\"unit_price\":10,\"total\":10},{\"line_id\":\"2\",\"sku\":\"B\",\"quantity\":\"1\","
    "\"unit_price\":10,\"total\":10,\"ext\":{\"engraving\":\"for Ann\"}}],"
    "\"totals\":{\"grand\":20},\"ext\":{\"gift\":[\"yes\",{\"to\":\"Ben\"}]}}";

static void *order_load(struct kit *kit, struct str text) {
    const struct json *json;
    void *order;
    assert_int_equal(json_parse(kit->parser, &kit->arena, text, false, &json, &kit->fault), OK);
    assert_int_equal(shape_load(&order_shape, json, &kit->arena, &order, &kit->fault), OK);
    return order;
}

static void personal_members_are_apart(void **state) {
    struct kit *kit = *state;
    struct buf out;
    void *order = order_load(kit, str_c(whole));
    buf_init(&out, 0);
    shape_encode_public(&order_shape, order, &out);
    assert_null(strstr(buf_cstr(&out), "Ann"));
    assert_null(strstr(buf_cstr(&out), "Hafenstr"));
    assert_null(strstr(buf_cstr(&out), "Ben"));
    assert_non_null(strstr(buf_cstr(&out), "\"customer\":{\"customer_id\":\"C-1\"}"));
    assert_non_null(strstr(buf_cstr(&out), "\"region\":\"HH\",\"country\":\"DE\""));
    buf_clear(&out);
    assert_true(shape_encode_personal(&order_shape, order, &out));
    assert_string_equal(
        buf_cstr(&out),
        "{\"customer\":{\"email\":\"ann@example.org\",\"name\":\"Ann \\\"A.\\\" Exämple\"},"
        "\"ship_to\":{\"name\":\"Ann\",\"street\":[\"Hafenstr. 1\",\"c/o Ben\"],\"city\":\"Hamburg\"},"
        "\"lines\":{\"1\":{\"ext\":{\"engraving\":\"for Ann\"}}},"
        "\"ext\":{\"gift\":[\"yes\",{\"to\":\"Ben\"}]}}");
    buf_clear(&out);
    void *none = order_load(kit, STR("{\"channel\":\"w\",\"channel_order_id\":\"1\",\"placed_at\":"
                                     "\"2026-11-23T09:15:00Z\",\"currency\":\"EUR\",\"customer\":{"
                                     "\"customer_id\":\"C-1\"},\"lines\":[{\"sku\":\"A\","
                                     "\"quantity\":\"1\",\"unit_price\":1,\"total\":1}],"
                                     "\"totals\":{\"grand\":1}}"));
    buf_lit(&out, "before");
    assert_false(shape_encode_personal(&order_shape, none, &out));
    assert_string_equal(buf_cstr(&out), "before");
    buf_free(&out);
}

struct sealed_record {
    struct record record;
    struct event_meta meta;
};

static struct sealed_record record_seal(struct kit *kit, void *order) {
    struct buf out;
    struct sealed sealed;
    struct sealed_record r = {.meta = {.command = STR("order.capture"), .sealed_at = STR("order")}};
    buf_init(&out, 0);
    shape_encode_personal(&order_shape, order, &out);
    assert_int_equal(seal_close(kit->keyring, r.meta.command, STR("C-1"),
                                arena_str(&kit->arena, buf_str(&out)), &kit->arena, &sealed,
                                &kit->fault), OK);
    buf_clear(&out);
    buf_lit(&out, "{\"order_id\":\"ord_1\",\"order\":");
    shape_encode_public(&order_shape, order, &out);
    buf_char(&out, '}');
    r.record = (struct record){.seq = 1, .data = arena_str(&kit->arena, buf_str(&out))};
    r.meta.person = sealed.person;
    r.meta.key = sealed.key;
    r.meta.sealed = sealed.box;
    buf_free(&out);
    return r;
}

static void a_sealed_document_comes_back_whole(void **state) {
    struct kit *kit = *state;
    struct buf before, after;
    struct str data;
    void *order = order_load(kit, str_c(whole));
    struct sealed_record r = record_seal(kit, order);
    assert_int_equal(seal_data(kit->keyring, &r.record, &r.meta, kit->parser, &kit->arena, &data,
                               &kit->fault), OK);
    const struct json *json;
    assert_int_equal(json_parse(kit->parser, &kit->arena, data, false, &json, &kit->fault), OK);
    const struct json *opened = json_member(json, STR("order"));
    assert_non_null(opened);
    buf_init(&before, 0);
    buf_init(&after, 0);
    shape_encode(&order_shape, order, &before);
    shape_encode(&order_shape, order_load(kit, opened->text), &after);
    assert_string_equal(buf_cstr(&before), buf_cstr(&after));
    buf_free(&before);
    buf_free(&after);
    /* without the right to see it, and after its key is gone: as it stands in the journal */
    assert_int_equal(seal_data(NULL, &r.record, &r.meta, kit->parser, &kit->arena, &data,
                               &kit->fault), OK);
    assert_ptr_equal(data.ptr, r.record.data.ptr);
    uint64_t key = (uint64_t)r.meta.key;
    assert_int_equal(kit->keyring->ops->destroy(kit->keyring, &key, 1, 9, &kit->fault), OK);
    assert_int_equal(seal_data(kit->keyring, &r.record, &r.meta, kit->parser, &kit->arena, &data,
                               &kit->fault), OK);
    assert_ptr_equal(data.ptr, r.record.data.ptr);
    assert_int_equal(kit->keyring->ops->erased(kit->keyring), 9);
}

/* A box is of one command type, person and key; no byte of it may differ. */
static void a_box_that_was_changed_does_not_open(void **state) {
    struct kit *kit = *state;
    struct sealed_record r = record_seal(kit, order_load(kit, str_c(whole)));
    struct sealed_record other = record_seal(kit, order_load(kit, str_c(whole)));
    struct str text;
    struct event_meta moved = r.meta;
    moved.person = STR("C-2");
    assert_int_equal(seal_open(kit->keyring, &moved, &kit->arena, &text, &kit->fault), ERR_DAMAGED);
    moved = r.meta;
    moved.command = STR("order.cancel");
    assert_int_equal(seal_open(kit->keyring, &moved, &kit->arena, &text, &kit->fault), ERR_DAMAGED);
    moved = r.meta;
    moved.key = other.meta.key;
    assert_int_equal(seal_open(kit->keyring, &moved, &kit->arena, &text, &kit->fault), ERR_DAMAGED);
    moved = r.meta;
    for (size_t i = 0; i < r.meta.sealed.len; i++) {
        struct str copy = arena_str(&kit->arena, r.meta.sealed);
        ((char *)(uintptr_t)copy.ptr)[i] = copy.ptr[i] == 'A' ? 'B' : 'A';
        moved.sealed = copy;
        assert_int_equal(seal_open(kit->keyring, &moved, &kit->arena, &text, &kit->fault),
                         ERR_DAMAGED);
    }
    assert_int_equal(seal_open(kit->keyring, &r.meta, &kit->arena, &text, &kit->fault), OK);
    assert_true(text.len > 0);
}

/* A long document is packed, one that can not be made shorter is not, and a box that was closed before
 * there was packing opens: each comes back to the byte. */
static void long_documents_are_packed(void **state) {
    struct kit *kit = *state;
    struct event_meta meta = {.command = STR("inbound.receive")};
    for (int kind = 0; kind < 4; kind++) { /* short, long, nothing to gain, long and large */
        struct buf text;
        struct sealed sealed;
        struct str back;
        buf_init(&text, 0);
        buf_lit(&text, "{\"text\":\"");
        for (int i = 0; i < (kind == 0 ? 20 : kind == 3 ? 200000 : 600); i++)
            if (kind == 2) {
                uint8_t noise[12];
                rng_fill(&kit->rng.rng, noise, sizeof noise);
                base64_write(&text, str_of((char *)noise, sizeof noise));
            } else {
                buf_printf(&text, "line %d of it, ", i);
            }
        buf_lit(&text, "\"}");
        assert_int_equal(seal_close(kit->keyring, meta.command, STR("pay_1"), buf_str(&text), &kit->arena,
                                    &sealed, &kit->fault), OK);
        size_t plain = base64_len(12 + text.len + 16);
        if (kind == 0)
            assert_int_equal(sealed.box.len, plain); /* as it always was: nothing in it is packed */
        else if (kind != 2)
            assert_true(sealed.box.len < plain / 2);
        else
            assert_true(sealed.box.len <= plain);
        meta.person = sealed.person;
        meta.key = sealed.key;
        meta.sealed = sealed.box;
        assert_int_equal(seal_open(kit->keyring, &meta, &kit->arena, &back, &kit->fault), OK);
        assert_true(str_eq(back, buf_str(&text)));
        buf_free(&text);
    }
}

/* A box as the version before packing closed it, made here by its rules (seal.h) alone. */
static void boxes_from_before_packing_open(void **state) {
    struct kit *kit = *state;
    struct seal_key key;
    struct buf box, text;
    struct str back;
    uint8_t *bytes = mem_alloc(8192), tag[16];
    char bound[64];
    int n;
    assert_int_equal(kit->keyring->ops->take(kit->keyring, &key, &kit->fault), OK);
    buf_init(&box, 0);
    buf_init(&text, 0);
    buf_lit(&text, "{\"document\":{\"a\":[");
    for (int i = 0; i < 900; i++)
        buf_printf(&text, "%d,", i);
    buf_lit(&text, "0]}}");
    memset(bytes, 7, 12); /* the nonce */
    snprintf(bound, sizeof bound, "inbound.receive\npay_1\n%llu", (unsigned long long)key.number);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key.bytes, bytes), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &n, (uint8_t *)bound, (int)strlen(bound)), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, bytes + 12, &n, (uint8_t *)text.data, (int)text.len), 1);
    assert_int_equal(EVP_EncryptFinal_ex(ctx, bytes + 12 + n, &n), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, tag), 1);
    EVP_CIPHER_CTX_free(ctx);
    memcpy(bytes + 12 + text.len, tag, sizeof tag);
    base64_write(&box, str_of((char *)bytes, 12 + text.len + 16));
    struct event_meta meta = {.command = STR("inbound.receive"), .person = STR("pay_1"),
                              .key = (int64_t)key.number, .sealed = buf_str(&box)};
    assert_int_equal(seal_open(kit->keyring, &meta, &kit->arena, &back, &kit->fault), OK);
    assert_true(str_eq(back, buf_str(&text)));
    buf_free(&box);
    buf_free(&text);
    mem_free(bytes);
}

static void what_others_repeat_is_masked(void **state) {
    struct kit *kit = *state;
    const struct json *personal;
    struct str json = STR("{\"customer\":{\"name\":\"Ann\",\"email\":\"ann@example.org\",\"phone\":"
                          "\"04\"},\"ship_to\":{\"name\":\"Ann Example\",\"street\":[\"Hafenstr. 1\"]},"
                          "\"ext\":{\"n\":12345,\"m\":12}}");
    assert_int_equal(json_parse(kit->parser, &kit->arena, json, false, &personal, &kit->fault), OK);
    static const char *const said[][2] = {
        {"customer Ann Example <ann@example.org> is unknown", "customer … <…> is unknown"},
        {"the name of Ann is missing, 04", "the name of … is missing, 04"},
        {"number 12345 twice: 12345, 12", "number … twice: …, 12"},
        {"it was cut in Hafenstr", "it was cut in …"},
        {"nothing to see", "nothing to see"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        struct str masked = seal_mask(str_c(said[i][0]), personal, &kit->arena);
        assert_string_equal(masked.len ? masked.ptr : "", said[i][1]);
    }
}

static void what_a_partner_sent_is_masked_by_its_names(void **state) {
    struct kit *kit = *state;
    const struct json *document;
    struct str json = STR("{\"id\":5001,\"contact_email\":\"ann@example.org\",\"line_items\":[{"
                          "\"title\":\"Shirt\",\"sku\":\"TEE\"}],\"Shipping_Address\":{\"lines\":["
                          "\"Hafenstr. 1\"],\"who\":\"Ann\"}}");
    assert_int_equal(json_parse(kit->parser, &kit->arena, json, false, &document, &kit->fault), OK);
    struct str masked = seal_mask_likely(
        STR("5001: Shirt (TEE) to Ann, Hafenstr. 1, ann@example.org"), document, &kit->arena);
    assert_string_equal(masked.ptr, "5001: Shirt (TEE) to …, …, …");
}

static bool shape_personal(const struct shape *shape, int depth) {
    for (uint32_t i = 0; depth < 8 && i < shape->count; i++)
        if (shape->fields[i].privacy == PERSONAL ||
            (shape->fields[i].shape && shape_personal(shape->fields[i].shape, depth + 1)))
            return true;
    return false;
}

/* Who adds a personal member says whose it is. */
static void every_command_with_personal_members_has_a_person(void **state) {
    (void)state;
    uint32_t found = 0;
    for (const struct capability *const *c = domain_capabilities; *c; c++)
        for (const struct command_type *const *t = (*c)->commands; t && *t; t++)
            if ((*t)->shape && shape_personal((*t)->shape, 0)) {
                if (!(*t)->person)
                    fail_msg("%s", (*t)->name);
                found++;
            }
    assert_int_equal(found, 6);
}

/* --- keys ----------------------------------------------------------------------------------- */

static void every_key_of_a_block_is_its_own(void **state) {
    (void)state;
    static uint8_t keys[KEY_TREE_LEAVES][KEY_NODE_BYTES];
    struct key_node root = {.bytes = {1, 2, 3}}, stay[KEY_TREE_LEVELS];
    struct key_walk walk;
    uint8_t key[KEY_NODE_BYTES];
    uint32_t count;
    key_walk_begin(&walk, root.bytes);
    for (uint32_t leaf = 0; leaf < KEY_TREE_LEAVES; leaf++) {
        assert_int_equal(walk.next, leaf);
        assert_true(key_walk_next(&walk, keys[leaf]));
        assert_true(key_tree_leaf(&root, leaf, key));
        assert_memory_equal(key, keys[leaf], sizeof key);
        assert_true(leaf == 0 || memcmp(keys[leaf], keys[leaf - 1], sizeof key) != 0);
    }
    assert_false(key_walk_next(&walk, key));
    /* what stays makes all keys but one, and is no way to that one */
    for (uint32_t leaf = 0; leaf < KEY_TREE_LEAVES; leaf += 613) {
        assert_true(key_tree_punch(&root, leaf, stay, &count));
        assert_int_equal(count, KEY_TREE_LEVELS);
        uint32_t made = 0;
        for (uint32_t i = 0; i < count; i++)
            for (uint32_t l = 0; l < KEY_TREE_LEAVES; l++)
                if (key_tree_index(l, stay[i].level) == stay[i].index) {
                    assert_int_not_equal(l, leaf);
                    assert_true(key_tree_leaf(&stay[i], l, key));
                    assert_memory_equal(key, keys[l], sizeof key);
                    made++;
                }
        assert_int_equal(made, KEY_TREE_LEAVES - 1);
    }
}

/* Every byte of every file in the folder. */
static bool folder_holds(struct kit *kit, const void *what, size_t len) {
    char command[8192], name[300];
    bool found = false;
    snprintf(command, sizeof command, "ls -A '%s'", kit->folder);
    FILE *list = popen(command, "r");
    assert_non_null(list);
    while (fscanf(list, "%255s", name) == 1) {
        char path[8192];
        snprintf(path, sizeof path, "%s/%s", kit->folder, name);
        FILE *file = fopen(path, "rb");
        static char bytes[16 << 20];
        size_t n = file ? fread(bytes, 1, sizeof bytes, file) : 0;
        found = found || memmem(bytes, n, what, len);
        if (file)
            fclose(file);
    }
    pclose(list);
    return found;
}

static void a_destroyed_key_leaves_no_trace(void **state) {
    struct kit *kit = *state;
    struct seal_key keys[200], got;
    struct key_node nodes[KEY_TREE_LEVELS];
    uint64_t numbers[100];
    uint32_t count;
    for (int i = 0; i < 200; i++)
        assert_int_equal(kit->keyring->ops->take(kit->keyring, &keys[i], &kit->fault), OK);
    /* the root is the one secret that the file holds of them: the seeded source says which */
    struct rng_seeded rng;
    struct key_node root = {0};
    rng_seeded_init(&rng, 7);
    rng_fill(&rng.rng, root.bytes, sizeof root.bytes); /* the cell's secret */
    rng_fill(&rng.rng, root.bytes, sizeof root.bytes);
    assert_true(key_tree_leaf(&root, 0, got.bytes));
    assert_memory_equal(got.bytes, keys[0].bytes, sizeof got.bytes);
    assert_true(folder_holds(kit, root.bytes, sizeof root.bytes));
    for (int i = 0; i < 100; i++)
        numbers[i] = keys[i * 2].number;
    assert_int_equal(kit->keyring->ops->destroy(kit->keyring, numbers, 100, 5, &kit->fault), OK);
    assert_false(folder_holds(kit, root.bytes, sizeof root.bytes));
    for (int i = 0; i < 200; i += 2) {
        assert_int_equal(kit->keyring->ops->find(kit->keyring, keys[i].number, &got, &kit->fault),
                         ERR_NOT_FOUND);
        assert_false(folder_holds(kit, keys[i].bytes, sizeof keys[i].bytes));
        /* nor any node between the root and it */
        assert_true(key_tree_punch(&root, (uint32_t)keys[i].number % KEY_TREE_LEAVES, nodes, &count));
        struct key_node on = root;
        for (uint32_t level = 1; level < KEY_TREE_LEVELS; level++) {
            struct key_node above = on;
            uint32_t leaf = (uint32_t)keys[i].number % KEY_TREE_LEAVES;
            uint32_t other = nodes[level - 1].index;
            /* the node on the path is the sibling of what stays: made by destroying a leaf of it */
            struct key_node sides[KEY_TREE_LEVELS];
            uint32_t n;
            assert_true(key_tree_punch(&above, other << (KEY_TREE_LEVELS - level), sides, &n));
            on = sides[0];
            assert_int_equal(on.index, key_tree_index(leaf, level));
            assert_false(folder_holds(kit, on.bytes, sizeof on.bytes));
        }
    }
    for (int i = 1; i < 200; i += 2) {
        assert_int_equal(kit->keyring->ops->find(kit->keyring, keys[i].number, &got, &kit->fault),
                         OK);
        assert_memory_equal(got.bytes, keys[i].bytes, sizeof got.bytes);
    }
}

/* Under a master key no secret stands in the file; a file that was without is written anew. */
static void a_master_key_is_over_all_secrets(void **state) {
    struct kit *kit = *state;
    uint8_t master[SEAL_KEY_BYTES] = {9, 8, 7}, other[SEAL_KEY_BYTES] = {1};
    struct persons_options options = {.path = kit->path, .clock = &clock_system,
                                      .rng = &kit->rng.rng, .ready = 1};
    struct seal_key before, after, got;
    struct key_node secret, root;
    struct rng_seeded rng;
    struct keyring *k;
    rng_seeded_init(&rng, 7);
    rng_fill(&rng.rng, secret.bytes, sizeof secret.bytes);
    rng_fill(&rng.rng, root.bytes, sizeof root.bytes);
    assert_int_equal(kit->keyring->ops->take(kit->keyring, &before, &kit->fault), OK);
    struct hash128 blind = kit->keyring->ops->blind(kit->keyring, (struct hash128){1, 2});
    assert_true(folder_holds(kit, root.bytes, sizeof root.bytes));
    assert_true(folder_holds(kit, secret.bytes, sizeof secret.bytes));
    keyring_close(kit->keyring);
    kit->keyring = NULL;
    for (int life = 0; life < 2; life++) {
        options.master = master;
        assert_int_equal(persons_open(&options, &k, &kit->fault), OK);
        assert_false(folder_holds(kit, root.bytes, sizeof root.bytes));
        assert_false(folder_holds(kit, secret.bytes, sizeof secret.bytes));
        assert_int_equal(k->ops->find(k, before.number, &got, &kit->fault), OK);
        assert_memory_equal(got.bytes, before.bytes, sizeof got.bytes);
        assert_true(hash128_eq(k->ops->blind(k, (struct hash128){1, 2}), blind));
        assert_int_equal(k->ops->take(k, &after, &kit->fault), OK);
        assert_true(after.number > before.number);
        if (life == 1)
            assert_int_equal(k->ops->destroy(k, &before.number, 1, 3, &kit->fault), OK);
        keyring_close(k);
        options.master = NULL;
        assert_int_equal(persons_open(&options, &k, &kit->fault), ERR_CONFLICT);
        options.master = other;
        assert_int_equal(persons_open(&options, &k, &kit->fault), ERR_CONFLICT);
    }
    options.master = master;
    assert_int_equal(persons_open(&options, &k, &kit->fault), OK);
    assert_int_equal(k->ops->find(k, before.number, &got, &kit->fault), ERR_NOT_FOUND);
    assert_int_equal(k->ops->find(k, after.number, &got, &kit->fault), OK);
    assert_memory_equal(got.bytes, after.bytes, sizeof got.bytes);
    kit->keyring = k;
}

/* Over restarts and destroyed keys: a number is never handed out twice, and never one whose key is
 * gone. */
static void a_key_is_never_taken_twice(void **state) {
    struct kit *kit = *state;
    uint64_t last = 0;
    struct seal_key key, got;
    for (int life = 0; life < 4; life++) {
        for (int i = 0; i < (int)KEY_TREE_LEAVES + 100; i++) {
            assert_int_equal(kit->keyring->ops->take(kit->keyring, &key, &kit->fault), OK);
            assert_true(key.number > last);
            last = key.number;
            if (i % 1000 == 0) {
                assert_int_equal(kit->keyring->ops->destroy(kit->keyring, &key.number, 1,
                                                            (uint64_t)i, &kit->fault), OK);
                assert_int_equal(kit->keyring->ops->find(kit->keyring, key.number, &got,
                                                         &kit->fault), ERR_NOT_FOUND);
            }
        }
        keyring_close(kit->keyring);
        kit->keyring = keyring_make(kit, NULL, 20000);
        assert_non_null(kit->keyring);
        bool again;
        assert_int_equal(kit->keyring->ops->tidy(kit->keyring, &again, &kit->fault), OK);
        struct persons_stats stats;
        persons_stats(kit->keyring, &stats);
        assert_true(stats.ready >= 20000 && stats.waited == 0);
    }
    assert_int_equal(kit->keyring->ops->find(kit->keyring, last, &got, &kit->fault), OK);
    assert_memory_equal(got.bytes, key.bytes, sizeof got.bytes);
    assert_int_equal(kit->keyring->ops->find(kit->keyring, 12345, &got, &kit->fault),
                     ERR_NOT_FOUND);
}

/* --- the power fails ------------------------------------------------------------------------ */

#define TAKEN 40
/* At any write or sync: what was taken can be found, or was destroyed; what destroy has answered
 * for is gone; and what it has not is destroyed by asking again. */
static void crash_once(struct vfs_fault *disk, struct kit *kit, uint64_t seed, uint32_t at,
                       enum vfs_fault_call call) {
    struct seal_key keys[TAKEN], got;
    uint64_t numbers[TAKEN / 2];
    vfs_fault_reset(disk, seed);
    rng_seeded_init(&kit->rng, seed);
    struct keyring *k = keyring_make(kit, "fault", 1);
    assert_non_null(k);
    for (int i = 0; i < TAKEN; i++)
        assert_int_equal(k->ops->take(k, &keys[i], &kit->fault), OK);
    for (int i = 0; i < TAKEN / 2; i++)
        numbers[i] = keys[i * 2].number;
    vfs_fault_fail(disk, call, at, VFS_FAULT_CRASH);
    enum err err = k->ops->destroy(k, numbers, TAKEN / 2, 11, &kit->fault);
    if (!vfs_fault_crashed(disk))
        vfs_fault_crash(disk);
    keyring_close(k);
    vfs_fault_restart(disk);
    k = keyring_make(kit, "fault", 1);
    if (!k)
        fail_msg("seed %llu at %u: %s", (unsigned long long)seed, at, kit->fault.detail);
    bool done = k->ops->erased(k) == 11;
    if (err == OK && !done)
        fail_msg("seed %llu at %u: what was destroyed is not remembered", (unsigned long long)seed,
                 at);
    for (int i = 0; i < TAKEN; i++) {
        enum err found = k->ops->find(k, keys[i].number, &got, &kit->fault);
        if (i % 2 == 1 || found == OK) {
            assert_int_equal(found, OK);
            assert_memory_equal(got.bytes, keys[i].bytes, sizeof got.bytes);
        }
        if (i % 2 == 0 && done)
            assert_int_equal(found, ERR_NOT_FOUND);
    }
    assert_int_equal(k->ops->destroy(k, numbers, TAKEN / 2, 11, &kit->fault), OK);
    for (int i = 0; i < TAKEN; i++)
        assert_int_equal(k->ops->find(k, keys[i].number, &got, &kit->fault),
                         i % 2 ? OK : ERR_NOT_FOUND);
    assert_int_equal(k->ops->take(k, &got, &kit->fault), OK);
    assert_true(got.number > keys[TAKEN - 1].number);
    keyring_close(k);
}

static void destroying_survives_any_crash(void **state) {
    struct kit *kit = *state;
    log_level_set(LOG_ERROR + 1);
    struct vfs_fault *disk = vfs_fault_create("fault", false);
    snprintf(kit->path, sizeof kit->path, "/persons.db");
    for (uint32_t at = 1; at <= 40; at++) {
        crash_once(disk, kit, at * 2, at, VFS_FAULT_WRITE);
        if (at <= 12)
            crash_once(disk, kit, at * 2 + 1, at, VFS_FAULT_SYNC);
    }
    vfs_fault_destroy(disk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(personal_members_are_apart, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(a_sealed_document_comes_back_whole, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(a_box_that_was_changed_does_not_open, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(long_documents_are_packed, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(boxes_from_before_packing_open, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(what_others_repeat_is_masked, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(what_a_partner_sent_is_masked_by_its_names, kit_make,
                                        kit_free),
        cmocka_unit_test(every_command_with_personal_members_has_a_person),
        cmocka_unit_test_setup_teardown(every_key_of_a_block_is_its_own, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(a_destroyed_key_leaves_no_trace, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(a_master_key_is_over_all_secrets, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(a_key_is_never_taken_twice, kit_make, kit_free),
        cmocka_unit_test_setup_teardown(destroying_survives_any_crash, kit_make, kit_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
