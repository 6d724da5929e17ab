#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flow_key.h"
#include "community_id.h"
#include "packet_view.h"
#include "flow_table.h"

#define REQUIRE(condition) \
    do { \
        if (!(condition)) \
            abort(); \
    } while (0)
#define PACKETS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct flow_packet *packet)
{
    const struct flow_key *key = &packet->key;
    uint8_t digest[20], again[20];
    char text[31];
    REQUIRE(key->version == 0 || key->version == 4 || key->version == 6);
    REQUIRE(packet->direction < 2 && packet->fragment <= FLOW_LATER_FRAGMENT && key->unused == 0);
    if (!(key->flags & FLOW_KEY_ONE_WAY) && key->version != 0) {
        int sign = memcmp(key->addr[0], key->addr[1], 16);
        REQUIRE(sign < 0 || (sign == 0 && key->port[0] <= key->port[1]));
    }
    community_id_digest(key, 0, digest);
    community_id_text(digest, text);
    REQUIRE(community_id_parse(text, strlen(text), again) == 0 && memcmp(digest, again, sizeof digest) == 0);
}

/* First byte: link type; then packets after a length byte each. Each lies in memory of its own, so that a read beyond
 * it is seen, and is parsed at every shorter length, too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t linktypes[] = {0, 1, 12, 101, 108, 113, 228, 229, 276, 147};
    struct packet_view views[PACKETS_MAX];
    struct flow_hit hits[PACKETS_MAX];
    struct flow_counts counts;
    struct flow_table *table;
    uint8_t *copies[PACKETS_MAX];
    size_t n = 0;
    if (size < 1)
        return 0;
    uint32_t linktype = linktypes[data[0] % (sizeof linktypes / sizeof linktypes[0])];
    data++;
    size--;
    REQUIRE(flow_table_open(8, 1000, 300, &table) == 0);
    for (; size > 0 && n < PACKETS_MAX; n++) {
        size_t len = data[0] < size ? data[0] : size - 1;
        copies[n] = malloc(len + (len == 0));
        memcpy(copies[n], data + 1, len);
        views[n] = (struct packet_view){
            .data = copies[n], .ts_ns = n * 100, .caplen = (uint32_t)len, .wire_len = (uint32_t)len + 3};
        data += len + 1;
        size -= len + 1;
        for (size_t part = 0; part <= len; part++) {
            uint8_t *cut = malloc(part + (part == 0));
            memcpy(cut, copies[n], part);
            flow_parse(linktype, cut, (uint32_t)part, (uint32_t)len, &hits[0].packet);
            check(&hits[0].packet);
            free(cut);
        }
    }
    flow_table_track(table, linktype, views, n, hits);
    for (size_t i = 0; i < n; i++) {
        check(&hits[i].packet);
        if (i % 7 == 6)
            (void)flow_table_lift(table, &hits[i].packet.key, i * 100);
        free(copies[i]);
    }
    flow_table_get_counts(table, &counts);
    REQUIRE(counts.packets == n && counts.lifted <= 2);
    flow_table_close(table);
    return 0;
}
