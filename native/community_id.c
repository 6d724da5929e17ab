#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "big_endian.h"
#include "flow_key.h"

#include "community_id.h"

#define TEXT_LEN 30
#define SHA1_BLOCK 64

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t rotate(uint32_t value, int bits)
{
    return value << bits | value >> (32 - bits);
}

/* FIPS 180-4, section 6.1.2, of a message that fits one block with its padding; all of ours do. */
static void sha1_block(const uint8_t block[SHA1_BLOCK], uint8_t digest[20])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int t = 0; t < 16; t++)
        w[t] = be32(block + 4 * t);
    for (int t = 16; t < 80; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (int t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (t < 40 || t >= 60) {
            f = b ^ c ^ d;
            k = t < 40 ? 0x6ed9eba1 : 0xca62c1d6;
        } else {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        }
        uint32_t next = rotate(a, 5) + f + e + k + w[t];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    put_be32(digest, h[0] + a);
    put_be32(digest + 4, h[1] + b);
    put_be32(digest + 8, h[2] + c);
    put_be32(digest + 12, h[3] + d);
    put_be32(digest + 16, h[4] + e);
}

void community_id_digest(const struct flow_key *key, uint16_t seed, uint8_t digest[20])
{
    uint8_t block[SHA1_BLOCK] = {0};
    size_t addr_len = key->version == 4 ? 4 : 16, len = 0;
    put_be16(block, seed);
    len += 2;
    for (int i = 0; i < 2; i++, len += addr_len)
        memcpy(block + len, key->addr[i], addr_len);
    block[len] = key->proto;
    len += 2;
    if (key->flags & FLOW_KEY_PORTS) {
        put_be16(block + len, key->port[0]);
        put_be16(block + len + 2, key->port[1]);
        len += 4;
    }
    block[len] = 0x80;
    put_be16(block + SHA1_BLOCK - 2, (uint16_t)(len * 8));
    sha1_block(block, digest);
}

void community_id_text(const uint8_t digest[20], char text[31])
{
    char *out = text;
    *out++ = '1';
    *out++ = ':';
    for (size_t i = 0; i < 20; i += 3) {
        uint32_t bits = (uint32_t)digest[i] << 16 | (uint32_t)digest[i + 1] << 8 | (i + 2 < 20 ? digest[i + 2] : 0U);
        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = alphabet[bits >> shift & 63];
    }
    text[TEXT_LEN - 1] = '='; /* 20 bytes are six threes and a two */
    text[TEXT_LEN] = '\0';
}

int community_id_parse(const char *text, size_t len, uint8_t digest[20])
{
    char again[TEXT_LEN + 1];
    if (len != TEXT_LEN)
        return EINVAL;
    uint32_t bits = 0;
    for (size_t i = 2, n = 0; i < TEXT_LEN - 1; i++) {
        const char *found = memchr(alphabet, text[i], sizeof alphabet - 1);
        if (found == NULL)
            return EINVAL;
        bits = bits << 6 | (uint32_t)(found - alphabet);
        size_t place = (i - 2) % 4;
        if (place > 0) /* each character after the first of four completes a byte */
            digest[n++] = (uint8_t)(bits >> (2 * (3 - place)));
    }
    community_id_text(digest, again);
    return memcmp(again, text, TEXT_LEN) == 0 ? 0 : EINVAL;
}
