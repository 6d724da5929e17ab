/* Frames of Broker's node messages, made of events that wait one after the other.
 *
 * Source: Broker, broker/internal/wire_format.cc.
 */

#define BK_HEADER 37 /* sender and receiver; type, TTL and the topic's length; the topic and the payload follow */
#define BK_AT_TYPE 32
#define BK_AT_TTL 33
#define BK_AT_TOPIC_LEN 35
#define BK_DATA 1    /* the type */

struct bk_envelope {
    const uint8_t *sender;   /* BK_ID bytes each */
    const uint8_t *receiver;
    const uint8_t *topic;
    size_t topic_len;        /* 65535 at most */
    uint16_t ttl;
};

/* Bytes of the frames around `data`, which is messages with their lengths before them, as of BK_EVENTS. Returns 0,
 * EBADMSG if it is cut off or a message is empty, or EMSGSIZE if a frame would be longer than BK_MAX_FRAME. */
int bk_framed_bytes(const struct bk_envelope *envelope, const uint8_t *data, size_t len, size_t *out);
/* Write them; the data must be as it was then. */
void bk_frame_events(const struct bk_envelope *envelope, const uint8_t *data, size_t len, uint8_t *out);
