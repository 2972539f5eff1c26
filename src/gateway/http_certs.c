/* http_certs: certificates, keys, whom to trust and ticket keys, from files into OpenSSL's
 * contexts; see http_tls.h. Nothing here knows of connections. */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/rng.h"
#include "gateway/http_tls_priv.h"

#define SUITES_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"
#define GROUPS "X25519:P-256:P-384"
#define TICKET_KEYS 2 /* the one in use, and the one before, which still opens tickets */
#define FILES_MAX (2 * HTTP_TLS_CERTIFICATES_MAX + 2)

struct ticket_key {
    uint8_t name[16], cipher[32], mac[32];
    int64_t made_us; /* clock_tick_us; 0: there is none */
};
/* Enough to see that a file was replaced or written to. */
struct file_mark {
    int64_t mtime_ns, size;
    uint64_t inode;
};

struct http_tls {
    struct http_tls_options options;
    struct arena arena;
    struct clock *clock;
    EVP_CIPHER *cipher; /* of tickets; looked up once, because that is slow */
    pthread_mutex_t lock; /* of present and keys */
    struct tls_set *present;
    struct ticket_key keys[TICKET_KEYS];
    struct file_mark marks[FILES_MAX];
};

struct clock *tls_clock(const struct http_tls *tls) { return tls->clock; }

/* OpenSSL's word for what went wrong last, without its file and line. */
static const char *why(char text[160]) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);

    snprintf(text, 160, "%s", reason ? reason : "no reason given");
    ERR_clear_error();
    return text;
}

/* --- tickets ------------------------------------------------------------------------------- */

/* Under the lock: the key to make tickets with. A key makes them for resume_s and opens them for
 * as long again. */
static struct ticket_key *ticket_key_present(struct http_tls *tls) {
    struct ticket_key *key = &tls->keys[0];
    int64_t now_us = clock_tick_us(tls->clock), age_us = tls->options.resume_s * 1000000;

    if (key->made_us != 0 && now_us - key->made_us < age_us)
        return key;
    tls->keys[1] = *key;
    if (key->made_us != 0 && now_us - key->made_us >= 2 * age_us)
        tls->keys[1].made_us = 0;
    rng_fill(&rng_system, key->name, sizeof key->name);
    rng_fill(&rng_system, key->cipher, sizeof key->cipher);
    rng_fill(&rng_system, key->mac, sizeof key->mac);
    key->made_us = now_us ? now_us : 1;
    return key;
}

static bool ticket_key_of(struct http_tls *tls, const uint8_t name[16], struct ticket_key *out) {
    int64_t now_us = clock_tick_us(tls->clock), age_us = tls->options.resume_s * 1000000;
    bool found = false;

    pthread_mutex_lock(&tls->lock);
    for (uint32_t i = 0; i < TICKET_KEYS && !found; i++) {
        *out = tls->keys[i];
        found = out->made_us != 0 && now_us - out->made_us < 2 * age_us &&
                memcmp(out->name, name, sizeof out->name) == 0;
    }
    pthread_mutex_unlock(&tls->lock);
    return found;
}

/* OpenSSL's question when it makes a ticket (making) or opens one. Below 0: an error; 0: no such
 * key, so a whole handshake; 1: go on; 2: go on, and give a new ticket. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int making) {
    struct tls_set *set = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct http_tls *tls = set->tls;
    struct ticket_key key;
    OSSL_PARAM params[3];
    bool fine;

    if (making) {
        pthread_mutex_lock(&tls->lock);
        key = *ticket_key_present(tls);
        pthread_mutex_unlock(&tls->lock);
        memcpy(name, key.name, sizeof key.name);
        rng_fill(&rng_system, iv, (size_t)EVP_CIPHER_get_iv_length(tls->cipher));
    } else if (!ticket_key_of(tls, name, &key)) {
        return 0;
    }
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac, sizeof key.mac);
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0);
    params[2] = OSSL_PARAM_construct_end();
    fine = EVP_MAC_CTX_set_params(mac, params) &&
           (making ? EVP_EncryptInit_ex2(cipher, tls->cipher, key.cipher, iv, NULL)
                   : EVP_DecryptInit_ex2(cipher, tls->cipher, key.cipher, iv, NULL));
    explicit_bzero(&key, sizeof key);
    return fine ? 1 : -1;
}

/* --- what is said in the handshake ---------------------------------------------------------- */

/* RFC 7301: a list of names, each behind its length. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned int in_len, void *ctx) {
    static const char spoken[] = "http/1.1";

    for (unsigned i = 0; i < in_len && i + in[i] < in_len; i += 1u + in[i])
        if (in[i] == sizeof spoken - 1 && memcmp(in + i + 1, spoken, in[i]) == 0) {
            *out = in + i + 1;
            *out_len = in[i];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol */
}

static int on_name(SSL *ssl, int *alert, void *ctx) {
    struct tls_set *set = ctx;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    if (!name)
        return SSL_TLSEXT_ERR_NOACK;
    for (uint32_t i = 0; i < set->count; i++)
        if (X509_check_host(SSL_CTX_get0_certificate(set->contexts[i]), name, 0, 0, NULL) == 1) {
            if (i > 0 && !SSL_set_SSL_CTX(ssl, set->contexts[i]))
                return SSL_TLSEXT_ERR_ALERT_FATAL;
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_NOACK;
}

/* --- reading the files ---------------------------------------------------------------------- */

static int on_passphrase(char *buf, int size, int writing, void *ctx) {
    *(bool *)ctx = true;
    return -1;
}

/* False, and a fault that names the file, where it can not be read. */
static bool file_fit(const char *path, struct fault *fault) {
    struct stat st;
    FILE *file = fopen(path, "re");
    bool fit = false;

    if (!file)
        fault_add(fault, str_c(path), "can not be read: %s", strerror(errno));
    else if (fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode))
        fault_add(fault, str_c(path), "is not a file");
    else if ((size_t)st.st_size > HTTP_TLS_FILE_BYTES_MAX)
        fault_add(fault, str_c(path), "is longer than 16 MiB");
    else
        fit = true;
    if (file)
        fclose(file);
    return fit;
}

static int64_t time_s(const ASN1_TIME *time) {
    struct tm tm;

    return time && ASN1_TIME_to_tm(time, &tm) ? (int64_t)timegm(&tm) : 0;
}

/* What is wrong with a key's file, or NULL. */
static const char *key_load(SSL_CTX *context, const struct http_tls_pair *pair, char text[160]) {
    bool locked = false;
    FILE *file = fopen(pair->key, "re");
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, on_passphrase, &locked) : NULL;
    const char *wrong = NULL;

    if (file)
        fclose(file);
    if (!key && locked) {
        wrong = "is protected by a passphrase: write it without one, readable by the hub's user "
                "alone";
    } else if (!key) {
        wrong = "holds no private key in PEM";
    } else if (X509_check_private_key(SSL_CTX_get0_certificate(context), key) != 1) {
        snprintf(text, 160, "is not the key of %.120s", pair->certificate);
        wrong = text;
    } else if (SSL_CTX_use_PrivateKey(context, key) != 1) {
        wrong = why(text);
    }
    EVP_PKEY_free(key);
    ERR_clear_error();
    return wrong;
}

static void pair_load(SSL_CTX *context, const struct http_tls_pair *pair, struct fault *fault) {
    bool certificate = file_fit(pair->certificate, fault), key = file_fit(pair->key, fault);
    const char *wrong;
    char text[160];

    ERR_clear_error();
    if (certificate && SSL_CTX_use_certificate_chain_file(context, pair->certificate) != 1) {
        fault_add(fault, str_c(pair->certificate), "holds no certificate in PEM that is taken: %s",
                  why(text));
        certificate = false;
    }
    wrong = certificate && key ? key_load(context, pair, text) : NULL;
    if (wrong)
        fault_add(fault, str_c(pair->key), "%s", wrong);
}

static void crl_load(SSL_CTX *context, const char *path, int64_t *expires_s,
                     struct fault *fault) {
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    FILE *file = file_fit(path, fault) ? fopen(path, "re") : NULL;
    uint32_t count = 0;
    X509_CRL *crl;

    if (!file)
        return;
    while ((crl = PEM_read_X509_CRL(file, NULL, NULL, NULL))) {
        int64_t end_s = time_s(X509_CRL_get0_nextUpdate(crl));

        if (end_s != 0 && (*expires_s == 0 || end_s < *expires_s))
            *expires_s = end_s;
        count += X509_STORE_add_crl(store, crl) == 1;
        X509_CRL_free(crl);
    }
    fclose(file);
    ERR_clear_error();
    if (count == 0)
        fault_add(fault, str_c(path), "holds no revocation list in PEM");
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
}

/* Whom to trust as a client. */
static void clients_load(struct tls_set *set, SSL_CTX *context, struct fault *fault) {
    const struct http_tls_options *options = &set->tls->options;
    char text[160];

    if (options->client == HTTP_TLS_CLIENT_NONE)
        return;
    if (file_fit(options->client_ca, fault)) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(options->client_ca);

        if (!names || SSL_CTX_load_verify_file(context, options->client_ca) != 1)
            fault_add(fault, str_c(options->client_ca), "holds no certificates in PEM: %s",
                      why(text));
        SSL_CTX_set_client_CA_list(context, names);
    }
    if (options->client_crl)
        crl_load(context, options->client_crl, &set->crl_expires_s, fault);
    SSL_CTX_set_verify(context,
                       options->client == HTTP_TLS_CLIENT_REQUIRED
                           ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                           : SSL_VERIFY_PEER,
                       NULL);
}

static bool digest_file(EVP_MD_CTX *digest, const char *path) {
    char block[8192];
    size_t n;
    FILE *file = path ? fopen(path, "re") : NULL;

    if (!file)
        return !path;
    while ((n = fread(block, 1, sizeof block, file)) > 0)
        EVP_DigestUpdate(digest, block, n);
    fclose(file);
    return true;
}

/* What a resumed session's check was made with. */
static void trust_digest(struct tls_set *set) {
    const struct http_tls_options *options = &set->tls->options;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();

    if (digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL)) {
        EVP_DigestUpdate(digest, &options->client, sizeof options->client);
        digest_file(digest, options->client_ca);
        digest_file(digest, options->client_crl);
        EVP_DigestFinal_ex(digest, set->trust, NULL);
    }
    EVP_MD_CTX_free(digest);
}

/* --- contexts ------------------------------------------------------------------------------ */

static bool context_rules(struct tls_set *set, SSL_CTX *context) {
    const struct http_tls_options *options = &set->tls->options;
    uint64_t flags = SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA;
    bool fine = SSL_CTX_set_min_proto_version(context, options->only_1_3 ? TLS1_3_VERSION
                                                                        : TLS1_2_VERSION) &&
                SSL_CTX_set_cipher_list(context, SUITES_1_2) &&
                SSL_CTX_set1_groups_list(context, GROUPS) &&
                SSL_CTX_set_session_id_context(context, set->trust, sizeof set->trust) &&
                SSL_CTX_set_max_early_data(context, 0);

    if (options->resume_s > 0) {
        SSL_CTX_set_timeout(context, (long)options->resume_s);
        fine = fine && SSL_CTX_set_num_tickets(context, 1) &&
               SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket);
    } else {
        flags |= SSL_OP_NO_TICKET;
        fine = fine && SSL_CTX_set_num_tickets(context, 0);
    }
    SSL_CTX_set_options(context, flags);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
    SSL_CTX_set_tlsext_servername_callback(context, on_name);
    SSL_CTX_set_tlsext_servername_arg(context, set);
    SSL_CTX_set_app_data(context, set);
    return fine;
}

static void set_free(struct tls_set *set) {
    for (uint32_t i = 0; i < set->count; i++)
        SSL_CTX_free(set->contexts[i]);
    mem_free(set);
}

/* NULL and a fault where a file is not fit; all of them are looked at. */
static struct tls_set *set_create(struct http_tls *tls, struct fault *fault) {
    struct tls_set *set = mem_zalloc(sizeof *set);
    uint32_t before = fault->count;

    if (!set) {
        fault_set(fault, ERR_NOMEM, "no memory for certificates");
        return NULL;
    }
    set->refs = 1;
    set->tls = tls;
    trust_digest(set);
    for (uint32_t i = 0; i < tls->options.count && fault->err != ERR_NOMEM; i++) {
        SSL_CTX *context = SSL_CTX_new(TLS_server_method());

        if (!context) {
            fault_set(fault, ERR_NOMEM, "no memory for certificates");
            break;
        }
        set->contexts[set->count++] = context;
        if (!context_rules(set, context))
            fault_set(fault, ERR_NOMEM, "TLS can not be set up");
        pair_load(context, &tls->options.pairs[i], fault);
        if (fault->count == before) {
            int64_t end_s = time_s(X509_get0_notAfter(SSL_CTX_get0_certificate(context)));

            if (i == 0 || end_s < set->expires_s)
                set->expires_s = end_s;
        }
        if (i == 0 || fault->count == before) /* once is enough to tell what is wrong there */
            clients_load(set, context, fault);
    }
    if (fault->count > before || fault->err == ERR_NOMEM) {
        set_free(set);
        return NULL;
    }
    return set;
}

struct tls_set *tls_set_take(struct http_tls *tls) {
    struct tls_set *set;

    pthread_mutex_lock(&tls->lock);
    set = tls->present;
    atomic_fetch_add(&set->refs, 1);
    pthread_mutex_unlock(&tls->lock);
    return set;
}

void tls_set_give(struct tls_set *set) {
    if (set && atomic_fetch_sub(&set->refs, 1) == 1)
        set_free(set);
}

SSL *tls_set_ssl(struct tls_set *set) { return tls_rest_new(set->contexts[0]); }

/* --- from outside --------------------------------------------------------------------------- */

static uint32_t files_of(const struct http_tls *tls, const char *files[FILES_MAX]) {
    const struct http_tls_options *o = &tls->options;
    uint32_t n = 0;

    for (uint32_t i = 0; i < o->count; i++) {
        files[n++] = o->pairs[i].certificate;
        files[n++] = o->pairs[i].key;
    }
    if (o->client != HTTP_TLS_CLIENT_NONE && o->client_ca)
        files[n++] = o->client_ca;
    if (o->client != HTTP_TLS_CLIENT_NONE && o->client_crl)
        files[n++] = o->client_crl;
    return n;
}

static struct file_mark mark_of(const char *path) {
    struct stat st;

    if (stat(path, &st) != 0)
        return (struct file_mark){0};
    return (struct file_mark){.mtime_ns = st.st_mtim.tv_sec * INT64_C(1000000000) +
                                          st.st_mtim.tv_nsec,
                              .size = st.st_size,
                              .inode = st.st_ino};
}

/* Before the files are read, so that a change while they are is seen the next time. */
static void marks_take(struct http_tls *tls) {
    const char *files[FILES_MAX];
    uint32_t n = files_of(tls, files);

    for (uint32_t i = 0; i < n; i++)
        tls->marks[i] = mark_of(files[i]);
}

bool http_tls_stale(const struct http_tls *tls) {
    const char *files[FILES_MAX];
    uint32_t n = files_of(tls, files);

    for (uint32_t i = 0; i < n; i++) {
        struct file_mark mark = mark_of(files[i]), *had = (struct file_mark *)&tls->marks[i];

        if (mark.mtime_ns != had->mtime_ns || mark.size != had->size || mark.inode != had->inode)
            return true;
    }
    return false;
}

enum err http_tls_reload(struct http_tls *tls, struct fault *fault) {
    struct tls_set *set, *before;

    marks_take(tls);
    set = set_create(tls, fault);
    if (!set)
        return fault->err == ERR_NOMEM ? ERR_NOMEM : ERR_INVALID;
    pthread_mutex_lock(&tls->lock);
    before = tls->present;
    tls->present = set;
    pthread_mutex_unlock(&tls->lock);
    tls_set_give(before);
    return OK;
}

static const char *kept(struct http_tls *tls, const char *text) {
    return text ? arena_str(&tls->arena, str_c(text)).ptr : NULL;
}

static bool options_keep(struct http_tls *tls, const struct http_tls_options *options) {
    struct http_tls_pair *pairs;

    tls->options = *options;
    pairs = arena_array(&tls->arena, options->count, sizeof *pairs);
    tls->options.pairs = pairs;
    for (uint32_t i = 0; pairs && i < options->count; i++) {
        pairs[i].certificate = kept(tls, options->pairs[i].certificate);
        pairs[i].key = kept(tls, options->pairs[i].key);
        if (!pairs[i].certificate || !pairs[i].key)
            return false;
    }
    tls->options.client_ca = kept(tls, options->client_ca);
    tls->options.client_crl = kept(tls, options->client_crl);
    return pairs && !tls->options.client_ca == !options->client_ca &&
           !tls->options.client_crl == !options->client_crl;
}

enum err http_tls_create(const struct http_tls_options *options, struct http_tls **out,
                         struct fault *fault) {
    struct http_tls *tls = mem_zalloc(sizeof *tls);
    enum err err;

    must(options->count > 0 && options->count <= HTTP_TLS_CERTIFICATES_MAX);
    must(options->client == HTTP_TLS_CLIENT_NONE || options->client_ca);
    *out = NULL;
    if (!tls)
        return fault_set(fault, ERR_NOMEM, "no memory for TLS");
    arena_init(&tls->arena, 0);
    pthread_mutex_init(&tls->lock, NULL);
    tls->clock = options->clock ? options->clock : &clock_system;
    tls->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (tls->cipher && options_keep(tls, options))
        err = http_tls_reload(tls, fault);
    else
        err = fault_set(fault, ERR_NOMEM, "no memory for TLS");
    if (err != OK) {
        http_tls_destroy(tls);
        return err;
    }
    *out = tls;
    return OK;
}

void http_tls_destroy(struct http_tls *tls) {
    if (!tls)
        return;
    tls_set_give(tls->present);
    EVP_CIPHER_free(tls->cipher);
    explicit_bzero(tls->keys, sizeof tls->keys);
    pthread_mutex_destroy(&tls->lock);
    arena_free(&tls->arena);
    mem_free(tls);
}

int64_t http_tls_expires_s(struct http_tls *tls) {
    int64_t expires_s;

    pthread_mutex_lock(&tls->lock);
    expires_s = tls->present->expires_s;
    pthread_mutex_unlock(&tls->lock);
    return expires_s;
}

/* "" where all is well. */
static const char *end_text(char text[96], const char *what, int64_t end_s, int64_t now_s) {
    if (end_s <= now_s)
        snprintf(text, 96, "%s has ended", what);
    else if (end_s - now_s < HTTP_TLS_EXPIRY_WARNING_S)
        snprintf(text, 96, "%s ends in %lld days", what, (long long)((end_s - now_s) / 86400));
    else
        text[0] = '\0';
    return text;
}

void http_tls_warnings(struct http_tls *tls,
                       void (*say)(void *ctx, const char *file, const char *text), void *ctx) {
    struct tls_set *set = tls_set_take(tls);
    int64_t now_s = clock_now_us(tls->clock) / 1000000;
    const struct http_tls_options *o = &tls->options;
    char text[96];

    for (uint32_t i = 0; i < set->count; i++) {
        const X509 *x509 = SSL_CTX_get0_certificate(set->contexts[i]);

        if (end_text(text, "the certificate", time_s(X509_get0_notAfter(x509)), now_s)[0])
            say(ctx, o->pairs[i].certificate, text);
        if (time_s(X509_get0_notBefore(x509)) > now_s)
            say(ctx, o->pairs[i].certificate, "the certificate is not valid yet");
        struct stat st;
        if (stat(o->pairs[i].key, &st) == 0 && st.st_mode & (S_IROTH | S_IWOTH))
            say(ctx, o->pairs[i].key, "the key can be read or replaced by every user: chmod 600");
    }
    if (set->crl_expires_s != 0 &&
        end_text(text, "the revocation list", set->crl_expires_s, now_s)[0])
        say(ctx, o->client_crl, text);
    tls_set_give(set);
}
