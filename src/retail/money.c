/* money: see money.h. */
#include "retail/money.h"

#include "base/err.h"

/* The active currencies that have a minor unit: ISO 4217 list one as of 2024-06-25, and XAD
 * and XCG, added to it since. Gold, special drawing rights and their like have
 * none. Sorted, four bytes each. */
static const struct {
    int decimals;
    const char *codes;
} currencies[] = {
    {0,
     "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"},
    {2,
     "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD "
     "BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD "
     "EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR "
     "IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP "
     "MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN "
     "QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB "
     "TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR "
     "ZMW ZWG"},
    {3,
     "BHD IQD JOD KWD LYD OMR TND"},
    {4,
     "CLF UYW"},
};

/* Whether the sorted codes, four bytes each with their space, hold this one of three bytes. */
static bool codes_hold(const char *codes, const char *code) {
    size_t low = 0, high = (strlen(codes) + 1) / 4;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = memcmp(codes + 4 * middle, code, 3);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

int currency_decimals(struct str code) {
    if (code.len != 3)
        return -1;
    for (size_t i = sizeof currencies / sizeof currencies[0]; i-- > 0;)
        if (codes_hold(currencies[i].codes, code.ptr))
            return currencies[i].decimals;
    return -1;
}

const char *currency_codes(int decimals) {
    for (size_t i = 0; i < sizeof currencies / sizeof currencies[0]; i++)
        if (currencies[i].decimals == decimals)
            return currencies[i].codes;
    return NULL;
}

bool money_parse(struct str text, struct str currency, int64_t *minor) {
    int decimals = currency_decimals(currency);
    return decimals >= 0 && decimal_parse(text, decimals, minor);
}

void money_write(struct buf *buf, int64_t minor, struct str currency) {
    int decimals = currency_decimals(currency);
    must(decimals >= 0);
    uint64_t size = minor < 0 ? 0 - (uint64_t)minor : (uint64_t)minor;
    uint64_t unit = 1;
    for (int i = 0; i < decimals; i++)
        unit *= 10;
    if (minor < 0)
        buf_char(buf, '-');
    buf_u64(buf, size / unit);
    if (decimals > 0)
        buf_char(buf, '.');
    for (uint64_t rest = size % unit; unit > 1; rest %= unit) {
        unit /= 10;
        buf_char(buf, (char)('0' + rest / unit));
    }
}
