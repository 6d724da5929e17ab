/* Datagrams: receivers with sender and own address. */

/* slots: datagrams for each system call (<= 1024); slot_bytes: longest datagram kept whole (<= 65535). Sets
 * SO_TIMESTAMPNS and SO_RXQ_OVFL on fd, which stays the caller's. Returns 0 or an errno: EINVAL for the limits,
 * EPROTOTYPE for a stream socket. */
int dgram_open(int fd, size_t slots, size_t slot_bytes, struct receiver **out);

/* Whether each datagram comes with who sent it and where it went to; not at first, because it costs. Sets or clears
 * IP_PKTINFO or IPV6_RECVPKTINFO on the socket, which is bound already. Returns 0 or an errno. */
int dgram_set_addresses(struct receiver *receiver, int wanted);
