/* Datagrams: receivers with sender and own address. */

/* slots: datagrams for each system call (<= 1024); slot_bytes: longest datagram kept whole (<= 65535). Sets
 * SO_TIMESTAMPNS, SO_RXQ_OVFL and IP_PKTINFO or IPV6_RECVPKTINFO on fd, which stays the caller's and is bound already.
 * Returns 0 or an errno: EINVAL for the limits, EPROTOTYPE for a stream socket. */
int dgram_open(int fd, size_t slots, size_t slot_bytes, struct receiver **out);
