#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "big_endian.h"
#include "broker_frames.h"
#include "broker_intake.h"

#define LENGTH 4 /* bytes before each frame, and each message */

_Static_assert(BK_AT_TYPE == 2 * BK_ID && BK_HEADER == BK_AT_TOPIC_LEN + 2, "the header has no gaps");

int bk_framed_bytes(const struct bk_envelope *envelope, const uint8_t *data, size_t len, size_t *out)
{
    const uint8_t *end = data + len;
    size_t added = BK_HEADER + envelope->topic_len, total = 0;
    while (data < end) {
        if (end - data < LENGTH)
            return EBADMSG;
        size_t size = be32(data);
        if (size == 0 || size > (size_t)(end - data) - LENGTH)
            return EBADMSG;
        if (size > BK_MAX_FRAME - added)
            return EMSGSIZE;
        total += LENGTH + added + size;
        data += LENGTH + size;
    }
    *out = total;
    return 0;
}

void bk_frame_events(const struct bk_envelope *envelope, const uint8_t *data, size_t len, uint8_t *out)
{
    const uint8_t *end = data + len;
    while (data < end) {
        size_t size = be32(data);
        put_be32(out, (uint32_t)(BK_HEADER + envelope->topic_len + size));
        out += LENGTH;
        memcpy(out, envelope->sender, BK_ID);
        memcpy(out + BK_ID, envelope->receiver, BK_ID);
        out[BK_AT_TYPE] = BK_DATA;
        put_be16(out + BK_AT_TTL, envelope->ttl);
        put_be16(out + BK_AT_TOPIC_LEN, (uint16_t)envelope->topic_len);
        memcpy(out + BK_HEADER, envelope->topic, envelope->topic_len);
        out += BK_HEADER + envelope->topic_len;
        memcpy(out, data + LENGTH, size);
        out += size;
        data += LENGTH + size;
    }
}
