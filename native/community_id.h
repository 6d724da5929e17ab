/* Community ID, version 1: the name of a flow that Zeek, Suricata and others write into their logs.
 *
 * Source: github.com/corelight/community-id-spec. Pure functions.
 */

/* SHA-1 over seed, addresses, protocol and ports of a key of version 4 or 6, as the specification orders them. */
void community_id_digest(const struct flow_key *key, uint16_t seed, uint8_t digest[20]);

/* "1:" and the digest in Base64: 30 characters and a NUL. */
void community_id_text(const uint8_t digest[20], char text[31]);
/* Back from the text; EINVAL if it is not a version 1 Community ID in Base64. */
int community_id_parse(const char *text, size_t len, uint8_t digest[20]);
