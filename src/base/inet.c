/* inet: see inet.h. Pure. */
#include "base/inet.h"

#include <arpa/inet.h>
#include <string.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_four(const struct inet_address *address) {
    return memcmp(address->bytes, mapped, sizeof mapped) == 0;
}

/* "[v6]", "[v6]:port", "v4:port" without what is around the address. */
static struct str bare(struct str text) {
    const char *end;
    if (text.len > 1 && text.ptr[0] == '[') {
        end = memchr(text.ptr, ']', text.len);
        return end ? str_of(text.ptr + 1, (size_t)(end - text.ptr) - 1) : STR("");
    }
    end = memchr(text.ptr, ':', text.len);
    if (end && !memchr(end + 1, ':', text.len - (size_t)(end - text.ptr) - 1))
        return str_of(text.ptr, (size_t)(end - text.ptr));
    return text;
}

bool inet_parse(struct str text, struct inet_address *out) {
    char copy[INET_TEXT_MAX];
    if (text.len == 0)
        return false;
    text = bare(text);
    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (memchr(copy, ':', text.len))
        return inet_pton(AF_INET6, copy, out->bytes) == 1;
    memcpy(out->bytes, mapped, sizeof mapped);
    return inet_pton(AF_INET, copy, out->bytes + 12) == 1;
}

struct str inet_write(const struct inet_address *address, char out[INET_TEXT_MAX]) {
    if (!is_four(address)) {
        out[0] = '\0';
        (void)inet_ntop(AF_INET6, address->bytes, out, INET_TEXT_MAX);
        return str_c(out);
    }
    size_t len = 0; /* by hand: this stands on the way of every order */
    for (int i = 12; i < 16; i++) {
        unsigned byte = address->bytes[i];
        if (i > 12)
            out[len++] = '.';
        if (byte >= 100)
            out[len++] = (char)('0' + byte / 100);
        if (byte >= 10)
            out[len++] = (char)('0' + byte / 10 % 10);
        out[len++] = (char)('0' + byte % 10);
    }
    out[len] = '\0';
    return str_of(out, len);
}

bool inet_net_parse(struct str text, struct inet_net *out) {
    struct str rest = text, address = str_cut(&rest, '/');
    uint64_t bits;
    if (!inet_parse(address, &out->address))
        return false;
    uint32_t most = is_four(&out->address) ? 32 : 128;
    if (!rest.ptr)
        bits = most;
    else if (!str_u64(rest, &bits) || bits > most)
        return false;
    out->bits = (uint32_t)bits + 128 - most;
    return true;
}

bool inet_net_holds(const struct inet_net *net, const struct inet_address *address) {
    uint32_t whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(net->address.bytes, address->bytes, whole) != 0)
        return false;
    unsigned mask = 0xff00u >> rest & 0xffu;
    return rest == 0 || ((net->address.bytes[whole] ^ address->bytes[whole]) & mask) == 0;
}

struct inet_address inet_net_of(const struct inet_address *address) {
    struct inet_address out = *address;
    uint32_t kept = is_four(address) ? 15 : 6;
    memset(out.bytes + kept, 0, sizeof out.bytes - kept);
    return out;
}

bool inet_public(const struct inet_address *address) {
    static const char *const others[] = {
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        /* of IPv6 everything outside 2000::/3, and within it what carries or documents others */
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"};
    static const struct inet_net global = {{{0x20}}, 3};
    struct inet_net net;
    if (!is_four(address) && !inet_net_holds(&global, address))
        return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (inet_net_parse(str_c(others[i]), &net) && inet_net_holds(&net, address))
            return false;
    return true;
}
