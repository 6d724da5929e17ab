#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "json_text.h"

/* The digits are those of Grisu2 and not simply the shortest, because Zeek's are: its log writer prints doubles with
 * RapidJSON, whose Grisu2 (since 2021; Zeek 5 and later) works on 64-bit significands with powers of ten that are eight
 * decades apart. What follows is Loitsch's algorithm with the same precision in each step, because a different last bit
 * of a product, or another choice among the possible powers, would give other digits for some doubles. */

#define FRACTION_BITS 52
#define HIDDEN_BIT (UINT64_C(1) << FRACTION_BITS)
#define EXPONENT_MAX 0x7ff
#define EXPONENT_BIAS (1023 + FRACTION_BITS)
#define DIGITS_MAX 20
#define POWER_FIRST (-348)
#define POWER_STEP 8
#define PLAIN_DIGITS 21 /* longer whole numbers get an exponent */

/* The significands of 10^-348, 10^-340 ... 10^340, rounded to 64 bits, the highest of which is set. */
static const uint64_t POWERS[] = {
    UINT64_C(0xfa8fd5a0081c0288), UINT64_C(0xbaaee17fa23ebf76), UINT64_C(0x8b16fb203055ac76), UINT64_C(0xcf42894a5dce35ea),
    UINT64_C(0x9a6bb0aa55653b2d), UINT64_C(0xe61acf033d1a45df), UINT64_C(0xab70fe17c79ac6ca), UINT64_C(0xff77b1fcbebcdc4f),
    UINT64_C(0xbe5691ef416bd60c), UINT64_C(0x8dd01fad907ffc3c), UINT64_C(0xd3515c2831559a83), UINT64_C(0x9d71ac8fada6c9b5),
    UINT64_C(0xea9c227723ee8bcb), UINT64_C(0xaecc49914078536d), UINT64_C(0x823c12795db6ce57), UINT64_C(0xc21094364dfb5637),
    UINT64_C(0x9096ea6f3848984f), UINT64_C(0xd77485cb25823ac7), UINT64_C(0xa086cfcd97bf97f4), UINT64_C(0xef340a98172aace5),
    UINT64_C(0xb23867fb2a35b28e), UINT64_C(0x84c8d4dfd2c63f3b), UINT64_C(0xc5dd44271ad3cdba), UINT64_C(0x936b9fcebb25c996),
    UINT64_C(0xdbac6c247d62a584), UINT64_C(0xa3ab66580d5fdaf6), UINT64_C(0xf3e2f893dec3f126), UINT64_C(0xb5b5ada8aaff80b8),
    UINT64_C(0x87625f056c7c4a8b), UINT64_C(0xc9bcff6034c13053), UINT64_C(0x964e858c91ba2655), UINT64_C(0xdff9772470297ebd),
    UINT64_C(0xa6dfbd9fb8e5b88f), UINT64_C(0xf8a95fcf88747d94), UINT64_C(0xb94470938fa89bcf), UINT64_C(0x8a08f0f8bf0f156b),
    UINT64_C(0xcdb02555653131b6), UINT64_C(0x993fe2c6d07b7fac), UINT64_C(0xe45c10c42a2b3b06), UINT64_C(0xaa242499697392d3),
    UINT64_C(0xfd87b5f28300ca0e), UINT64_C(0xbce5086492111aeb), UINT64_C(0x8cbccc096f5088cc), UINT64_C(0xd1b71758e219652c),
    UINT64_C(0x9c40000000000000), UINT64_C(0xe8d4a51000000000), UINT64_C(0xad78ebc5ac620000), UINT64_C(0x813f3978f8940984),
    UINT64_C(0xc097ce7bc90715b3), UINT64_C(0x8f7e32ce7bea5c70), UINT64_C(0xd5d238a4abe98068), UINT64_C(0x9f4f2726179a2245),
    UINT64_C(0xed63a231d4c4fb27), UINT64_C(0xb0de65388cc8ada8), UINT64_C(0x83c7088e1aab65db), UINT64_C(0xc45d1df942711d9a),
    UINT64_C(0x924d692ca61be758), UINT64_C(0xda01ee641a708dea), UINT64_C(0xa26da3999aef774a), UINT64_C(0xf209787bb47d6b85),
    UINT64_C(0xb454e4a179dd1877), UINT64_C(0x865b86925b9bc5c2), UINT64_C(0xc83553c5c8965d3d), UINT64_C(0x952ab45cfa97a0b3),
    UINT64_C(0xde469fbd99a05fe3), UINT64_C(0xa59bc234db398c25), UINT64_C(0xf6c69a72a3989f5c), UINT64_C(0xb7dcbf5354e9bece),
    UINT64_C(0x88fcf317f22241e2), UINT64_C(0xcc20ce9bd35c78a5), UINT64_C(0x98165af37b2153df), UINT64_C(0xe2a0b5dc971f303a),
    UINT64_C(0xa8d9d1535ce3b396), UINT64_C(0xfb9b7cd9a4a7443c), UINT64_C(0xbb764c4ca7a44410), UINT64_C(0x8bab8eefb6409c1a),
    UINT64_C(0xd01fef10a657842c), UINT64_C(0x9b10a4e5e9913129), UINT64_C(0xe7109bfba19c0c9d), UINT64_C(0xac2820d9623bf429),
    UINT64_C(0x80444b5e7aa7cf85), UINT64_C(0xbf21e44003acdd2d), UINT64_C(0x8e679c2f5e44ff8f), UINT64_C(0xd433179d9c8cb841),
    UINT64_C(0x9e19db92b4e31ba9), UINT64_C(0xeb96bf6ebadf77d9), UINT64_C(0xaf87023b9bf0ee6b),
};

static const uint64_t TENS[] = {
    UINT64_C(1), UINT64_C(10), UINT64_C(100), UINT64_C(1000), UINT64_C(10000), UINT64_C(100000), UINT64_C(1000000),
    UINT64_C(10000000), UINT64_C(100000000), UINT64_C(1000000000), UINT64_C(10000000000), UINT64_C(100000000000),
    UINT64_C(1000000000000), UINT64_C(10000000000000), UINT64_C(100000000000000), UINT64_C(1000000000000000),
    UINT64_C(10000000000000000), UINT64_C(100000000000000000), UINT64_C(1000000000000000000),
    UINT64_C(10000000000000000000),
};

/* f * 2^e */
struct scaled {
    uint64_t f;
    int e;
};

struct digits {
    uint8_t text[DIGITS_MAX];
    int count;
    int exponent; /* the value is 0.text * 10^(count + exponent) */
};

static struct scaled normalized(uint64_t f, int e)
{
    int shift = __builtin_clzll(f);
    return (struct scaled){f << shift, e - shift};
}

/* The upper half of the product, rounded by the highest bit of the lower one. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)(product >> 64) + ((uint64_t)product >> 63);
#else
    uint64_t a1 = a >> 32, a0 = a & UINT32_MAX, b1 = b >> 32, b0 = b & UINT32_MAX;
    uint64_t middle = (a0 * b0 >> 32) + (a1 * b0 & UINT32_MAX) + (a0 * b1 & UINT32_MAX) + (UINT64_C(1) << 31);
    return a1 * b1 + (a1 * b0 >> 32) + (a0 * b1 >> 32) + (middle >> 32);
#endif
}

/* floor(log2(10^k)) - 63 */
static int exponent_of_power(int k)
{
    return (k * 217706 >> 16) - 63;
}

/* The power that brings a number with this binary exponent to one between -60 and -32. */
static int power_for(int e)
{
    int k = 347 - ((61 + e) * 78913 >> 18); /* ceil((-61 - e) * log10(2)) + 347 */
    return (k >> 3) + 1;
}

/* Lower the last digit while that brings the text closer to the value: too_high is how far above the value the upper
 * bound lies, rest how far below the bound the text. All in units of the last binary place. */
static void round_down(struct digits *digits, uint64_t width, uint64_t rest, uint64_t unit, uint64_t too_high)
{
    uint8_t *last = &digits->text[digits->count - 1];
    while (rest < too_high && width - rest >= unit &&
           (rest + unit < too_high || too_high - rest > rest + unit - too_high)) {
        --*last;
        rest += unit;
    }
}

static int count_digits(uint32_t value)
{
    int count = 1;
    while (count < 9 && value >= TENS[count])
        count++;
    return count;
}

/* The shortest digits between upper - width and upper, upper having `shift` binary places behind the point. */
static void generate(struct digits *digits, uint64_t upper, uint64_t value, uint64_t width, int shift)
{
    uint64_t too_high = upper - value, mask = (UINT64_C(1) << shift) - 1, fraction = upper & mask;
    uint32_t whole = (uint32_t)(upper >> shift);
    int left = count_digits(whole);

    if (fraction > width) { /* the whole part alone is never enough: print it at once */
        for (int i = left - 1; i >= 0; i--) {
            digits->text[i] = (uint8_t)('0' + whole % 10);
            whole /= 10;
        }
        digits->count = left;
        if (left == 1 && digits->text[0] == '0')
            digits->count = 0;
    } else {
        while (left > 0) {
            uint32_t unit = (uint32_t)TENS[left - 1], digit = whole / unit;
            whole %= unit;
            if (digit != 0 || digits->count > 0)
                digits->text[digits->count++] = (uint8_t)('0' + digit);
            left--;
            uint64_t rest = ((uint64_t)whole << shift) + fraction;
            if (rest <= width) {
                digits->exponent += left;
                round_down(digits, width, rest, (uint64_t)unit << shift, too_high);
                return;
            }
        }
    }
    for (int places = 1;; places++) {
        fraction *= 10;
        width *= 10;
        unsigned digit = (unsigned)(fraction >> shift);
        if (digit != 0 || digits->count > 0)
            digits->text[digits->count++] = (uint8_t)('0' + digit);
        fraction &= mask;
        if (fraction < width) {
            digits->exponent -= places;
            round_down(digits, width, fraction, mask + 1, places < 20 ? too_high * TENS[places] : 0);
            return;
        }
    }
}

static void grisu2(struct digits *digits, uint64_t bits)
{
    int biased = (int)(bits >> FRACTION_BITS & EXPONENT_MAX);
    uint64_t f = bits & (HIDDEN_BIT - 1);
    int e = (biased != 0 ? biased : 1) - EXPONENT_BIAS;
    if (biased != 0)
        f |= HIDDEN_BIT;

    struct scaled value = normalized(f, e), upper = normalized(f * 2 + 1, e - 1);
    uint64_t lower = f == HIDDEN_BIT ? (f * 4 - 1) << (e - 2 - upper.e) : (f * 2 - 1) << (e - 1 - upper.e);
    int index = power_for(upper.e);
    int power = POWER_FIRST + index * POWER_STEP;
    uint64_t scale = POWERS[index];

    uint64_t high = multiply(upper.f, scale) - 1, low = multiply(lower, scale) + 1;
    digits->count = 0;
    digits->exponent = -power;
    generate(digits, high, multiply(value.f, scale), high - low, -(upper.e + exponent_of_power(power) + 64));
}

static uint8_t *put(uint8_t *out, const void *text, int len)
{
    memcpy(out, text, (size_t)len);
    return out + len;
}

static uint8_t *zeros(uint8_t *out, int count)
{
    memset(out, '0', (size_t)count);
    return out + count;
}

static uint8_t *lay_out(uint8_t *out, const struct digits *digits)
{
    int count = digits->count, point = count + digits->exponent; /* 0.text * 10^point */
    if (digits->exponent >= 0 && point <= PLAIN_DIGITS)
        return put(zeros(put(out, digits->text, count), point - count), ".0", 2);
    if (point > 0 && point <= PLAIN_DIGITS) {
        out = put(put(out, digits->text, point), ".", 1);
        return put(out, digits->text + point, count - point);
    }
    if (point > -6 && point <= 0)
        return put(zeros(put(out, "0.", 2), -point), digits->text, count);
    out = put(out, digits->text, 1);
    if (count > 1)
        out = put(put(out, ".", 1), digits->text + 1, count - 1);
    out = put(out, "e", 1);
    return json_text_i64(out, point - 1);
}

uint8_t *json_text_double(uint8_t *out, double value)
{
    uint64_t bits;
    struct digits digits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits >> FRACTION_BITS & EXPONENT_MAX) == EXPONENT_MAX)
        return put(out, "null", 4);
    if (bits >> 63)
        *out++ = '-';
    if (bits << 1 == 0)
        return put(out, "0.0", 3);
    grisu2(&digits, bits);
    return lay_out(out, &digits);
}
