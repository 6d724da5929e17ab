#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "flow_key.h"
#include "packet_view.h"
#include "flow_table.h"

#include "flow_entry.h"
#include "flow_hash.h"
#include "fragment_table.h"

#define WAYS 8
#define AHEAD 32            /* packets between fetching an entry and using it; their hashes stay in the first cache */
#define HUGE_PAGE ((size_t)2 << 20)
#define SLOTS_MAX (UINT32_C(1) << 26)
#define FRAGMENT_SLOTS 4096 /* 320 KiB; fewer in small tables */
#define YOUNG_PACKETS 8     /* a stream in one direction only is more than a scan's probes from here on */
#define TOTAL_MAX ((UINT64_C(1) << 48) - 1)
#define NO_SLOT UINT32_MAX

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

struct flow_table {
    struct flow_entry *entries;
    void *map; /* around them */
    size_t map_bytes;
    struct fragment_table *fragments;
    struct flow_secret secret;
    uint32_t slots;
    uint64_t idle_ns;
    uint64_t cutoff;
    struct flow_counts counts;
};

/* Zeros, of which an idle table takes no memory. */
static struct flow_entry *map_entries(struct flow_table *table, size_t bytes)
{
    table->map_bytes = bytes + HUGE_PAGE;
    void *map = mmap(NULL, table->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    table->map = map;
    uintptr_t at = ((uintptr_t)map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    /* A flood looks at random places: with small pages each costs a walk through the page table, too. */
    if (bytes >= HUGE_PAGE)
        (void)madvise((void *)at, bytes, MADV_HUGEPAGE);
    return (void *)at;
}

int flow_table_open(uint32_t slots, uint64_t idle_ns, uint64_t cutoff, struct flow_table **out)
{
    *out = NULL;
    if (slots < WAYS || slots > SLOTS_MAX || (slots & (slots - 1)) != 0)
        return EINVAL;
    struct flow_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return ENOMEM;
    size_t bytes = (size_t)slots * sizeof table->entries[0];
    table->entries = map_entries(table, bytes);
    table->fragments = fragment_table_open(slots < FRAGMENT_SLOTS ? slots : FRAGMENT_SLOTS);
    if (table->entries == NULL || table->fragments == NULL) {
        flow_table_close(table);
        return ENOMEM;
    }
    flow_secret_make(&table->secret);
    table->slots = slots;
    table->idle_ns = idle_ns;
    table->cutoff = cutoff;
    *out = table;
    return 0;
}

void flow_table_close(struct flow_table *table)
{
    if (table == NULL)
        return;
    if (table->map != NULL)
        munmap(table->map, table->map_bytes);
    fragment_table_close(table->fragments);
    free(table);
}

struct flow_entry *flow_table_entry(struct flow_table *table, uint32_t slot)
{
    return slot == NO_SLOT ? NULL : &table->entries[slot];
}

static uint64_t identify(const struct flow_table *table, const struct flow_key *key)
{
    uint64_t identity = flow_hash(&table->secret, key);
    return identity != 0 ? identity : 1;
}

/* Where the search begins; the rest of the set follows, cyclically. */
static struct flow_entry *home(const struct flow_table *table, uint64_t identity)
{
    return &table->entries[identity >> 32 & (table->slots - 1)];
}

static struct flow_entry *next_way(const struct flow_table *table, struct flow_entry *entry)
{
    size_t index = (size_t)(entry - table->entries);
    return &table->entries[(index & ~(size_t)(WAYS - 1)) | ((index + 1) & (WAYS - 1))];
}

static struct flow_entry *find(const struct flow_table *table, uint64_t identity)
{
    struct flow_entry *entry = home(table, identity);
    for (int i = 0; i < WAYS; i++, entry = next_way(table, entry))
        if (entry->identity == identity || entry->identity == 0) /* entries are replaced, never emptied */
            return entry->identity == identity ? entry : NULL;
    return NULL;
}

static int is_idle(const struct flow_table *table, const struct flow_entry *entry, uint64_t now_ns)
{
    return (now_ns > entry->last_ns) & (now_ns - entry->last_ns > table->idle_ns);
}

/* Without branches, as is rank(): in a flood nobody can predict them, and eight entries are asked for each packet. */
static int is_young(const struct flow_entry *entry)
{
    int is_one_way = (entry->packets[0] == 0) | (entry->packets[1] == 0);
    return (int)entry->is_closed | (is_one_way & (entry->packets[0] + entry->packets[1] < YOUNG_PACKETS));
}

/* Who has to go first: the idle, the young, the others, those longest silent first; UINT64_MAX: nobody. */
static uint64_t rank(const struct flow_table *table, const struct flow_entry *entry, uint64_t now_ns)
{
    uint64_t is_busy = !is_idle(table, entry, now_ns);
    uint64_t order = is_busy + (is_busy & !is_young(entry));
    return (order << 62 | entry->last_ns >> 2) | (0 - (is_busy & entry->is_lifted));
}

static void count_replaced(struct flow_table *table, const struct flow_entry *entry, uint64_t now_ns)
{
    if (is_idle(table, entry, now_ns))
        table->counts.expired++;
    else if (is_young(entry))
        table->counts.evicted_young++;
    else
        table->counts.evicted_established++;
    table->counts.lifted -= entry->is_lifted;
}

/* The entry for a new flow: an empty one, else the one to replace, else NULL. */
static struct flow_entry *make_room(struct flow_table *table, uint64_t identity, uint64_t now_ns)
{
    struct flow_entry *entry = home(table, identity), *victim = NULL;
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < WAYS; i++, entry = next_way(table, entry)) {
        if (entry->identity == 0)
            return entry;
        uint64_t found = rank(table, entry, now_ns);
        victim = found < least ? entry : victim;
        least = found < least ? found : least;
    }
    if (victim != NULL)
        count_replaced(table, victim, now_ns);
    return victim;
}

static void begin(struct flow_table *table, struct flow_entry *entry, uint64_t identity, uint64_t ts_ns)
{
    *entry = (struct flow_entry){.identity = identity, .first_ns = ts_ns, .last_ns = ts_ns};
    flow_entry_set_number(entry, UINT32_MAX);
    table->counts.flows++;
}

static uint64_t add(uint64_t total, uint64_t n)
{
    return total + n < TOTAL_MAX ? total + n : TOTAL_MAX;
}

static void count_packet(struct flow_entry *entry, const struct packet_view *view, const struct flow_packet *packet)
{
    if (view->ts_ns > entry->last_ns)
        entry->last_ns = view->ts_ns;
    if (view->ts_ns < entry->first_ns)
        entry->first_ns = view->ts_ns;
    entry->packets[packet->direction] += entry->packets[packet->direction] != UINT32_MAX;
    if (packet->direction == 0) {
        entry->wire_bytes_0 = add(entry->wire_bytes_0, view->wire_len) & TOTAL_MAX;
        entry->bytes_0 = add(entry->bytes_0, packet->payload) & TOTAL_MAX;
    } else {
        entry->wire_bytes_1 = add(entry->wire_bytes_1, view->wire_len) & TOTAL_MAX;
        entry->bytes_1 = add(entry->bytes_1, packet->payload) & TOTAL_MAX;
    }
    entry->is_closed |= (packet->tcp_flags & (TCP_FIN | TCP_RST)) != 0;
}

/* Same ends, but another connection: after a long silence, or a SYN after the last one was closed. */
static int is_over(const struct flow_table *table, const struct flow_entry *entry, const struct packet_view *view,
                   const struct flow_packet *packet)
{
    return is_idle(table, entry, view->ts_ns) ||
           (entry->is_closed && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN);
}

static void track(struct flow_table *table, const struct packet_view *view, uint64_t identity, struct flow_hit *hit)
{
    struct flow_entry *entry = find(table, identity);
    hit->verdict = FLOW_KEEP;
    if (entry == NULL) {
        entry = make_room(table, identity, view->ts_ns);
        if (entry == NULL) {
            hit->slot = NO_SLOT;
            table->counts.untracked++;
            return;
        }
        begin(table, entry, identity, view->ts_ns);
    } else if (is_over(table, entry, view, &hit->packet)) {
        int stays_lifted = entry->is_lifted;
        uint32_t number = flow_entry_number(entry);
        if (is_idle(table, entry, view->ts_ns)) {
            table->counts.expired++;
            table->counts.lifted -= entry->is_lifted;
            stays_lifted = 0;
        }
        begin(table, entry, identity, view->ts_ns);
        entry->is_lifted = stays_lifted != 0;
        flow_entry_set_number(entry, number);
    }
    hit->slot = (uint32_t)(entry - table->entries);
    uint64_t before = entry->wire_bytes_0 + entry->wire_bytes_1;
    if (!entry->is_lifted && hit->packet.key.version != 0 && before >= table->cutoff) {
        hit->verdict = FLOW_CUT;
        table->counts.cut_packets++;
        table->counts.cut_bytes += view->wire_len;
    }
    count_packet(entry, view, &hit->packet);
}

/* Where the first look finds another flow, the whole set is next: in a flood it decides who has to go. */
static void fetch_set(const struct flow_table *table, uint64_t identity)
{
    const struct flow_entry *entry = home(table, identity);
    if (entry->identity == identity || entry->identity == 0)
        return;
    size_t set = (size_t)(entry - table->entries) & ~(size_t)(WAYS - 1);
    for (size_t i = 0; i < WAYS; i++)
        __builtin_prefetch(&table->entries[set + i], 1);
}

void flow_table_track(struct flow_table *table, uint32_t linktype, const struct packet_view *packets, size_t n,
                      struct flow_hit *hits)
{
    uint64_t identities[AHEAD];
    for (size_t start = 0; start < n; start += AHEAD) {
        size_t end = n - start < AHEAD ? n : start + AHEAD;
        for (size_t i = start; i < end; i++) {
            struct flow_packet *packet = &hits[i].packet;
            if (i + 4 < n) {
                __builtin_prefetch(packets[i + 4].data);
                __builtin_prefetch(packets[i + 4].data + 64); /* an address beyond the data does no harm */
            }
            flow_parse(linktype, packets[i].data, packets[i].caplen, packets[i].wire_len, packet);
            if (packet->fragment != FLOW_WHOLE) {
                int is_known = fragment_table_resolve(table->fragments, packets[i].ts_ns, packet);
                table->counts.later_fragments += packet->fragment == FLOW_LATER_FRAGMENT;
                table->counts.unresolved_fragments += packet->fragment == FLOW_LATER_FRAGMENT && !is_known;
            }
            table->counts.other += packet->key.version == 0;
        }
        /* Not in the loop above: a key that was just written byte by byte cannot be read by the word yet. */
        for (size_t i = start; i < end; i++) {
            identities[i - start] = identify(table, &hits[i].packet.key);
            __builtin_prefetch(home(table, identities[i - start]), 1);
        }
        for (size_t i = start; i < end; i++)
            fetch_set(table, identities[i - start]);
        for (size_t i = start; i < end; i++)
            track(table, &packets[i], identities[i - start], &hits[i]);
    }
    table->counts.packets += n;
}

void flow_table_set_cutoff(struct flow_table *table, uint64_t cutoff)
{
    table->cutoff = cutoff;
}

uint64_t flow_table_cutoff(const struct flow_table *table)
{
    return table->cutoff;
}

int flow_table_lift(struct flow_table *table, const struct flow_key *key, uint64_t ts_ns)
{
    uint64_t identity = identify(table, key);
    struct flow_entry *entry = find(table, identity);
    if (entry != NULL && entry->is_lifted)
        return 0;
    if (table->counts.lifted >= table->slots / 4)
        return ENOSPC;
    if (entry == NULL) {
        entry = make_room(table, identity, ts_ns);
        if (entry == NULL)
            return ENOSPC;
        begin(table, entry, identity, ts_ns);
    }
    if (entry->last_ns < ts_ns)
        entry->last_ns = ts_ns; /* a flow that was idle is wanted from now on */
    entry->is_lifted = 1;
    table->counts.lifted++;
    return 0;
}

int flow_table_unlift(struct flow_table *table, const struct flow_key *key)
{
    struct flow_entry *entry = find(table, identify(table, key));
    if (entry == NULL)
        return ENOENT;
    table->counts.lifted -= entry->is_lifted;
    entry->is_lifted = 0;
    return 0;
}

int flow_table_get(const struct flow_table *table, const struct flow_key *key, struct flow_totals *out)
{
    const struct flow_entry *entry = find(table, identify(table, key));
    if (entry == NULL)
        return ENOENT;
    *out = (struct flow_totals){
        .first_ns = entry->first_ns,
        .last_ns = entry->last_ns,
        .packets = {entry->packets[0], entry->packets[1]},
        .bytes = {entry->bytes_0, entry->bytes_1},
        .wire_bytes = {entry->wire_bytes_0, entry->wire_bytes_1},
        .is_lifted = entry->is_lifted,
    };
    return 0;
}

void flow_table_get_counts(const struct flow_table *table, struct flow_counts *out)
{
    *out = table->counts;
}
