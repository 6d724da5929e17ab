/* Which packets are wanted: a span of time and what is known about the flow. */

struct flow_query {
    uint64_t from_ns; /* inclusive, as is to_ns */
    uint64_t to_ns;
    uint8_t addr[2][16]; /* as in struct flow_key */
    uint8_t version[2];  /* 4 or 6: addr[i] is one of the two ends; 0: any */
    int32_t port[2];     /* one of the two ports of TCP, UDP or SCTP; -1: any */
    int32_t proto;       /* -1: any */
    uint8_t is_conn;     /* port[i] belongs to addr[i] */
    uint8_t has_community;
    uint16_t community_seed;
    uint8_t community[20];
};

/* Whether a flow is wanted. A query with is_conn, ports and proto also wants what has no ports between its addresses
 * with its protocol: later fragments whose first is missing, and packets cut too short. With proto 1 or 58 the ports
 * are ICMP's type and code as struct flow_key has them; without a protocol, ICMP has none. */
int flow_query_wants(const struct flow_query *query, const struct flow_key *key);
