#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "big_endian.h"
#include "broker_intake.h"
#include "broker_frames.h"
#include "transcode.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)

#define MAX_MESSAGE 700u
#define STREAM_MAX 65536u

static const uint8_t ME[BK_ID + 1] = "I am endpoint #1";
static const uint8_t PEER[BK_ID + 1] = "I am endpoint #2";
static const uint8_t NOBODY[BK_ID];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came out of an intake, frame by frame, so that it does not matter how it was put together. */
struct seen {
    uint8_t bytes[4 * STREAM_MAX];
    size_t len;
    uint64_t frames[BK_OTHER + 1];
};

static uint8_t stream[STREAM_MAX];
static struct seen whole, torn;

static void note(struct seen *seen, const void *data, size_t len)
{
    REQUIRE(len <= sizeof seen->bytes - seen->len);
    if (len > 0)
        memcpy(seen->bytes + seen->len, data, len);
    seen->len += len;
}

static void note_frame(struct seen *seen, const struct bk_run *run, const uint8_t *arena, uint64_t at, size_t len)
{
    const uint64_t head[] = {run->kind, run->ttl, run->is_unicast, run->topic_len, run->name_len, len};
    note(seen, head, sizeof head);
    note(seen, arena + run->topic, run->topic_len);
    note(seen, arena + run->name, run->name_len);
    note(seen, arena + at, len);
    seen->frames[run->kind]++;
}

/* The other reader of messages must agree as far as it looks. In memory of exactly its size, for the sanitizer. */
static void check_message(const uint8_t *message, size_t len, int is_logs)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    struct tc_writes *writes;
    uint64_t offset;
    REQUIRE(copy != NULL);
    memcpy(copy, message, len);
    REQUIRE(tc_writes_open(copy, len, &writes, &offset) == 0);
    REQUIRE(tc_writes_others(writes) == (is_logs ? 0 : 1));
    tc_writes_close(writes);
    free(copy);
}

static void check_events(struct seen *seen, const struct bk_run *run, const uint8_t *arena)
{
    uint64_t at = run->data, end = run->data + run->bytes;
    for (uint64_t i = 0; i < run->count; i++) {
        REQUIRE(end - at > 4);
        size_t len = be32(arena + at);
        REQUIRE(len > 0 && len <= end - at - 4);
        check_message(arena + at + 4, len, 0);
        note_frame(seen, run, arena, at + 4, len);
        at += 4 + len;
    }
    REQUIRE(at == end && run->count <= BK_RUN_EVENTS && (run->count == 1 || run->bytes <= BK_RUN_BYTES));
    REQUIRE(run->name >= run->data + 4 && run->name + run->name_len <= end);
}

/* Framed again, they are the same run. */
static void send_again(const struct bk_run *run, const uint8_t *arena)
{
    const struct bk_envelope envelope = {.sender = PEER, .receiver = run->is_unicast ? ME : NOBODY,
                                         .topic = arena + run->topic, .topic_len = run->topic_len,
                                         .ttl = (uint16_t)run->ttl};
    struct bk_intake *intake;
    struct bk_result result;
    size_t bytes;
    REQUIRE(bk_framed_bytes(&envelope, arena + run->data, run->bytes, &bytes) == 0);
    REQUIRE(bytes == run->bytes + run->count * (BK_HEADER + run->topic_len));
    uint8_t *frames = malloc(bytes);
    REQUIRE(frames != NULL && bk_open(ME, PEER, BK_MAX_FRAME, &intake) == 0);
    bk_frame_events(&envelope, arena + run->data, run->bytes, frames);
    REQUIRE(bk_feed(intake, frames, bytes, &result) == 0);
    REQUIRE(result.count == 1 && result.runs[0].count == run->count && result.runs[0].bytes == run->bytes);
    REQUIRE(memcmp(result.arena + result.runs[0].data, arena + run->data, run->bytes) == 0);
    bk_close(intake);
    free(frames);
}

static void look(struct seen *seen, const struct bk_result *result)
{
    for (size_t i = 0; i < result->count; i++) {
        const struct bk_run *run = &result->runs[i];
        REQUIRE(run->data <= result->bytes && run->bytes <= result->bytes - run->data && run->bytes > 0);
        REQUIRE(run->topic <= result->bytes && run->topic_len <= result->bytes - run->topic);
        if (run->kind == BK_EVENTS) {
            check_events(seen, run, result->arena);
            send_again(run, result->arena);
            continue;
        }
        REQUIRE(run->count == 1 && run->name_len == 0 && (run->kind == BK_LOGS || run->kind == BK_OTHER));
        REQUIRE((run->kind == BK_LOGS) == (run->topic_len > 0));
        if (run->kind == BK_LOGS)
            check_message(result->arena + run->data, run->bytes, 1);
        note_frame(seen, run, result->arena, run->data, run->bytes);
    }
}

/* Feed the stream in pieces whose sizes the bytes of `cuts` say; all at once if there are none. */
static int play(struct seen *seen, const uint8_t *data, size_t len, const uint8_t *cuts, size_t cut_count)
{
    struct bk_intake *intake;
    struct bk_result result;
    struct bk_counts counts;
    int error = 0;
    seen->len = 0;
    memset(seen->frames, 0, sizeof seen->frames);
    REQUIRE(bk_open(ME, PEER, MAX_MESSAGE, &intake) == 0);
    for (size_t i = 0; (len > 0 || i == 0) && !error; i++) {
        size_t size = cut_count == 0 ? len : (size_t)cuts[i % cut_count] + (i >= cut_count);
        size = size < len ? size : len;
        uint8_t *piece = malloc(size > 0 ? size : 1);
        REQUIRE(piece != NULL);
        if (size > 0)
            memcpy(piece, data, size);
        error = bk_feed(intake, piece, size, &result);
        free(piece);
        look(seen, &result);
        REQUIRE(error == 0 || error == EMSGSIZE);
        REQUIRE(bk_held_bytes(intake) <= MAX_MESSAGE + 4);
        REQUIRE(bk_is_between_frames(intake) == (!error && bk_held_bytes(intake) == 0));
        if (size % 3 == 0)
            bk_reset(intake);
        data += size;
        len -= size;
    }
    bk_get_counts(intake, &counts);
    REQUIRE(counts.events == seen->frames[BK_EVENTS] && counts.logs == seen->frames[BK_LOGS]);
    REQUIRE(counts.others == seen->frames[BK_OTHER] && counts.oversize == (error != 0));
    REQUIRE(counts.frames == counts.events + counts.logs + counts.others);
    REQUIRE(counts.foreign <= counts.events + counts.logs);
    if (error)
        REQUIRE(bk_feed(intake, data, len, &result) == EMSGSIZE && result.count == 0);
    bk_close(intake);
    return error;
}

/* A length, and an envelope if the control byte wants one. */
static size_t write_frame(uint8_t *out, uint8_t control, const uint8_t *payload, size_t len)
{
    size_t head = (control & 1) != 0 ? 0 : BK_HEADER + 1u;
    put_be32(out, (uint32_t)(head + len));
    if (head > 0) {
        memcpy(out + 4, (control & 2) != 0 ? NOBODY : PEER, BK_ID);
        memcpy(out + 4 + BK_ID, (control & 4) != 0 ? ME : NOBODY, BK_ID);
        out[4 + BK_AT_TYPE] = (control & 8) != 0 ? 3 : BK_DATA;
        put_be16(out + 4 + BK_AT_TTL, control >> 6);
        put_be16(out + 4 + BK_AT_TOPIC_LEN, 1);
        out[4 + BK_HEADER] = (control & 16) != 0 ? 't' : 'u';
    }
    memcpy(out + 4 + head, payload, len);
    return 4 + head + len;
}

/* The first byte tells how many there are of the bytes behind it that say where to cut. Then, for each frame, a control
 * byte, a length byte and the payload; with bit 5 of the control byte, what follows is the stream's rest as it is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || (size_t)data[0] % 16 >= size)
        return 0;
    const uint8_t *cuts = data + 1, *p = cuts + data[0] % 16, *end = data + size;
    size_t cut_count = data[0] % 16, len = 0;
    while (end - p >= 2 && len < STREAM_MAX / 2) {
        uint8_t control = p[0];
        size_t left = (size_t)(end - p) - 2, part = p[1] < left ? p[1] : left;
        p += 2;
        if ((control & 32) != 0) {
            part = left < STREAM_MAX / 4 ? left : STREAM_MAX / 4;
            memcpy(stream + len, p, part);
            len += part;
        } else {
            len += write_frame(stream + len, control, p, part);
        }
        p += part;
    }
    int error = play(&whole, stream, len, NULL, 0);
    REQUIRE(play(&torn, stream, len, cuts, cut_count) == error);
    REQUIRE(whole.len == torn.len && memcmp(whole.bytes, torn.bytes, whole.len) == 0);
    return 0;
}
