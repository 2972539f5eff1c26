/* http_peer: what a verified client certificate says of its holder, as one block of memory that
 * the connection owns. A name that could be read in two ways (a zero byte or another control
 * character within) is left out. */
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "base/mem.h"
#include "gateway/http_priv.h"

#define NAMES_MAX 64 /* of one kind */
#define TEXT_BYTES_MAX 16384

struct names {
    struct buf text;
    struct {
        size_t from, len;
    } at[3][NAMES_MAX];
    uint32_t count[3];
};

static int kind_of(int general_name) {
    return general_name == GEN_DNS ? 0 : general_name == GEN_URI ? 1 : general_name == GEN_EMAIL ? 2 : -1;
}

static bool unambiguous(const unsigned char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e) /* an IA5String */
            return false;
    return len > 0;
}

static void names_collect(struct names *names, X509 *x509) {
    GENERAL_NAMES *all = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        int type, kind;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type);

        kind = kind_of(type);
        if (kind < 0 || names->count[kind] == NAMES_MAX ||
            !unambiguous(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)))
            continue;
        uint32_t n = names->count[kind]++;
        names->at[kind][n].from = names->text.len;
        names->at[kind][n].len = (size_t)ASN1_STRING_length(value);
        buf_add(&names->text, ASN1_STRING_get0_data(value), names->at[kind][n].len);
    }
    GENERAL_NAMES_free(all);
}

/* RFC 4514; letters beyond ASCII stand as UTF-8. */
static void subject_write(struct buf *out, X509 *x509) {
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long len;

    if (!bio || X509_NAME_print_ex(bio, X509_get_subject_name(x509), 0,
                                   XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) < 0) {
        buf_lit(out, "?");
    } else {
        len = BIO_get_mem_data(bio, &text);
        buf_add(out, text, (size_t)len);
    }
    BIO_free(bio);
}

static void fingerprint_write(char out[65], X509 *x509) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    memset(out, 0, 65);
    if (X509_digest(x509, EVP_sha256(), digest, &len) == 1)
        for (unsigned i = 0; i < len && i < 32; i++) {
            out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
            out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
        }
}

struct http_peer *http_peer_create(X509 *x509) {
    struct names names = {0};
    struct tm tm;
    size_t subject_len;
    uint32_t count;
    struct http_peer *peer = NULL;

    buf_init(&names.text, TEXT_BYTES_MAX);
    subject_write(&names.text, x509);
    subject_len = names.text.len;
    names_collect(&names, x509);
    count = names.count[0] + names.count[1] + names.count[2];
    if (buf_ok(&names.text))
        peer = mem_zalloc(sizeof *peer + count * sizeof(struct str) + names.text.len);
    if (peer) {
        struct str *at = (struct str *)(peer + 1);
        char *text = (char *)(at + count);
        const struct str **lists[3] = {&peer->dns, &peer->uris, &peer->emails};
        uint32_t *counts[3] = {&peer->dns_count, &peer->uri_count, &peer->email_count};

        memcpy(text, names.text.data, names.text.len);
        peer->subject = str_of(text, subject_len);
        for (int kind = 0; kind < 3; kind++) {
            *lists[kind] = at;
            *counts[kind] = names.count[kind];
            for (uint32_t i = 0; i < names.count[kind]; i++)
                *at++ = str_of(text + names.at[kind][i].from, names.at[kind][i].len);
        }
        fingerprint_write(peer->fingerprint, x509);
        if (ASN1_TIME_to_tm(X509_get0_notAfter(x509), &tm))
            peer->expires_s = (int64_t)timegm(&tm);
    }
    buf_free(&names.text);
    return peer;
}
