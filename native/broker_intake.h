/* Intake for what a Broker peer sends once the handshake is over: bytes in, runs out.
 *
 * Most frames of a busy peer are events and log writes. They are recognised and checked here, by the block; events of
 * one name and topic that come one after the other are put together. All other frames come out as they are, in their
 * place, for somebody who takes the time. It is sans-I/O, and what it sees does not depend on how the bytes are cut.
 * One thread at a time; nothing here blocks or logs.
 *
 * Source: Broker, broker/envelope.cc (the frame), zeek.hh (the messages), format/bin.hh (the values).
 */

#define BK_ID 16
#define BK_MAX_FRAME 2147483642 /* the longest that Broker sends, without the length: 2^31 - 6 */
#define BK_RUN_EVENTS 10000
#define BK_RUN_BYTES 1048576    /* of a run's data, if it is more than one event */

enum bk_kind {
    /* One or more data frames with an event each, of the same topic, name, TTL and receiver. `data` is, for each, the
     * message with its length, 32 bits in network order, before it. */
    BK_EVENTS = 1,
    /* A data frame with a log write, or a batch of nothing but log writes: `data` is the message. */
    BK_LOGS = 2,
    /* Any other frame: `data` is all of it but its length. It has no topic here, for it need not have one at all. */
    BK_OTHER = 3,
};

/* All members of one size, so that an array of them can be read at once. Positions are in the arena. */
struct bk_run {
    uint64_t kind;         /* enum bk_kind */
    uint64_t count;        /* events; 1 of other kinds */
    uint64_t data;
    uint64_t bytes;
    uint64_t topic;
    uint64_t topic_len;
    uint64_t name;         /* of the event, within the data */
    uint64_t name_len;
    uint64_t ttl;
    uint64_t is_unicast;   /* sent to us by our ID, not to a topic's subscribers */
};

struct bk_result {
    const struct bk_run *runs; /* in the order of arrival; valid until the next bk_feed() or bk_reset() */
    size_t count;
    const uint8_t *arena;
    size_t bytes;              /* of the arena */
};

/* Since bk_open(): frames = events + logs + others. */
struct bk_counts {
    uint64_t frames;   /* whole ones, that hold something */
    uint64_t bytes;    /* of them, with their lengths */
    uint64_t events;
    uint64_t logs;     /* frames, not log writes */
    uint64_t others;
    uint64_t foreign;  /* events and logs whose last hop, they say, is not the peer but a third endpoint */
    uint64_t empty;    /* frames that hold nothing, which are left out */
    uint64_t oversize; /* frames longer than max_message: one at most, for it is the end */
};

struct bk_intake;

/* For frames from `peer` to `me`, BK_ID bytes each. max_message: the longest frame without its length, from 1 to
 * BK_MAX_FRAME. Returns 0, EINVAL or ENOMEM; free with bk_close(). */
int bk_open(const uint8_t *me, const uint8_t *peer, size_t max_message, struct bk_intake **out);
void bk_close(struct bk_intake *intake);

/* The next bytes of the connection. Memory for a frame that is not whole follows what has come of it, with a quarter
 * and some KiB to spare, whatever it announces. Returns 0; EMSGSIZE if a frame announces more than max_message, or
 * ENOMEM: then the frames before it are in *out as always, and all that comes later is refused with EMSGSIZE. */
int bk_feed(struct bk_intake *intake, const uint8_t *data, size_t len, struct bk_result *out);
/* Forget the runs, and free memory that only large ones need. */
void bk_reset(struct bk_intake *intake);

/* Bytes of a frame that is not yet whole. */
size_t bk_held_bytes(const struct bk_intake *intake);
/* Whether the connection may end here without tearing a frame. */
int bk_is_between_frames(const struct bk_intake *intake);
void bk_get_counts(const struct bk_intake *intake, struct bk_counts *out);
