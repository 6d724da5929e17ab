"""A store's clone: a copy of the content that follows the master's, and the way to the master for those who write.

It does better than Broker's: when the master is gone it looks for one again, under a new name each time, because a
master answers a name that it knows with an offset that fits no content.

Time is in ticks of 100 ms, one for each call of `Clone.tick`.

Source: Broker, ``internal/clone_actor.cc``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import msgspec

from appliance.wire.names import NIL, EndpointId

from .commands import (
    NOBODY,
    AckClone,
    Action,
    AttachWriter,
    Clear,
    Command,
    CumulativeAck,
    Entity,
    Erase,
    Expire,
    Keepalive,
    Nack,
    Put,
    PutUnique,
    PutUniqueResult,
    RetransmitFailed,
    StoreMessage,
    signed,
)
from .consumer import Consumer
from .content import Content
from .outputs import ChangeKind, Outgoing, StoreChange, outgoing
from .producer import FIRST_SEQ, HEARTBEAT, Producer
from .snapshot import Snapshot

__all__ = ["Clone", "CloneOptions", "Fate"]

_IDEMPOTENT = (Put, Erase, Clear)


class CloneOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Intervals in ticks of 100 ms."""

    lost: int = 20
    """A master that is silent so long may be gone; it sends something every five ticks."""
    resync: int = 100
    """Between two attempts to find a master."""
    stale: int | None = 3000
    """After so long without a master the content is not to be trusted; None: it always is."""
    mutation_buffer: int = 1200
    """What is written is kept so long for a master to come."""
    max_writes: int = 1_000_000
    """That wait for a master, or for its acknowledgement."""


class Fate(msgspec.Struct, frozen=True, gc=False):
    """What became of something that was written."""

    ticket: int
    reason: str
    """Empty: the master has it. ``no_master``: it never left. ``unknown``: the master was lost before it could tell."""


class Clone:
    """See the module.

    Args:
        new_name: makes a name that was never used.
        options: intervals and bounds.
    """

    def __init__(self, new_name: Callable[[], Entity], options: CloneOptions | None = None) -> None:
        self.options = options or CloneOptions()
        self.content = Content()
        self.master: Entity | None = None
        self.refused: Counter[str] = Counter()
        """Commands that had no effect, by reason."""
        self.results: list[tuple[int, bool]] = []
        """Of `PutUnique`: ticket, and whether it was inserted."""
        self.fates: list[Fate] = []
        self.changes: list[StoreChange] = []
        self.is_synchronised = False
        """Whether there ever was a content."""
        self.resyncs = 0
        self._new_name = new_name
        self._now = 0
        self._lost_since: int | None = 0
        self._heard = self._asked = 0
        self._messages: list[Outgoing] = []
        self._ticket = 0
        self._waiting: deque[tuple[int, int, Action]] = deque()
        """Ticket, tick, action: for a master to come."""
        self._sent: deque[tuple[int, int, Action]] = deque()
        """Number, ticket, action: for the master's acknowledgement."""
        self._begin()

    def _begin(self) -> None:
        """Look for a master under a new name."""
        self.me = self._new_name()
        self.master = None
        self._consumer: Consumer[Action] = Consumer()
        self._producer: Producer[Action] = Producer(max_events=self.options.max_writes)
        self.ask()

    def ask(self) -> None:
        """Ask for a master now."""
        self._asked = self._now
        self._send(Nack((0,)))

    # ── what it says ──

    @property
    def is_attached(self) -> bool:
        """Whether the master is there, as far as is known."""
        return self._lost_since is None

    @property
    def is_stale(self) -> bool:
        """Whether the content is not to be trusted."""
        stale = self.options.stale
        return not self.is_synchronised or (
            stale is not None and self._lost_since is not None and self._now - self._lost_since >= stale
        )

    @property
    def unsettled(self) -> int:
        """Writes whose fate is not known."""
        return len(self._waiting) + len(self._sent)

    def take(self) -> tuple[Outgoing, ...]:
        """What is to be sent since the last call."""
        messages = tuple(self._messages)
        self._messages.clear()
        return messages

    # ── what is wanted ──

    def write(self, action: Action) -> int | None:
        """Write something; returns a ticket that comes back in `fates`, or None if too much waits."""
        if self.unsettled >= self.options.max_writes:
            self.refused["too_many_writes"] += 1
            return None
        self._ticket += 1
        action = signed(action, self.me)
        if self.is_attached:
            self._publish(self._ticket, action)
        else:
            self._waiting.append((self._ticket, self._now, action))
        return self._ticket

    # ── what happens ──

    def expects(self, message: StoreMessage) -> bool:
        """Whether a snapshot would replace the content, which does not change until one does."""
        return self.master is None and message.receiver == self.me

    def receive(self, message: StoreMessage, snapshot: Snapshot | None = None) -> None:
        """Take a command that came on the clones' topic.

        Args:
            message: the command.
            snapshot: what was made of it already.
        """
        sender, command = message.sender, message.command
        if isinstance(command, AckClone):
            self._attach(sender, message.receiver, command, snapshot)
            return
        if sender != self.master:
            self.refused["not_our_master"] += 1
            return
        is_ours = message.receiver == self.me
        match command:
            case Keepalive(seq) if is_ours or message.receiver.is_nobody:
                self._consumer.on_keepalive(seq)
            case CumulativeAck(seq) if is_ours:
                self._settle(sender, seq)
            case Nack(seqs) if is_ours:
                self._repeat(sender, seqs)
            case RetransmitFailed(seq) if is_ours:
                # Nothing replaces it but the whole content.
                self._lose()
                self._restart()
                return
            case Put() | PutUniqueResult() | Erase() | Expire() | Clear():
                for action in self._consumer.on_event(message.seq, command):
                    self._apply(action)
            case _:
                self.refused["not_for_us"] += 1
                return
        self._heard = self._now
        self._lost_since = None
        self._flush()

    def tick(self) -> None:
        """100 ms have passed."""
        self._now += 1
        if self.master is None:
            if self._now - self._asked >= min(self.options.resync, 2 if not self.is_synchronised else 10):
                self.ask()
        else:
            self._tick_channels(self.master)
            if self.is_attached and self._now - self._heard >= self.options.lost:
                self._lose()
            if self._lost_since is not None and self._now - self._lost_since >= self.options.resync:
                self._restart()
        limit = self._now - self.options.mutation_buffer
        while self._waiting and self._waiting[0][1] <= limit:
            self.fates.append(Fate(self._waiting.popleft()[0], "no_master"))

    def lose(self, endpoint: EndpointId) -> None:
        """An endpoint is not there any more; it may come back."""
        if self.master is not None and self.master.endpoint == endpoint:
            self._lose()

    def restart(self) -> None:
        """Look for another master: the one that we had will not come back, or we are somebody else now."""
        self._lose()
        self._restart()

    def _tick_channels(self, master: Entity) -> None:
        command = self._consumer.tick()
        if command is not None:
            self._tell(master, command)
        is_due, silent = self._producer.tick()
        if silent:  # it says something, but nothing about what we write
            self._lose()
            self._restart()
        elif is_due:
            if not self._producer.has_heard_from(master):
                self._open_writer(master)
            else:
                self._send(Keepalive(self._producer.seq))

    def _lose(self) -> None:
        if self._lost_since is None:
            self._lost_since = self._heard

    def _restart(self) -> None:
        """Give the master up. What it may have got or not is written again if that does no harm."""
        self.resyncs += 1
        again = []
        for _, ticket, action in self._sent:
            if isinstance(action, _IDEMPOTENT):
                again.append((ticket, self._now, action))
            else:
                self.fates.append(Fate(ticket, "unknown"))
        self._sent.clear()
        self._waiting.extendleft(reversed(again))
        self._lost_since = self._now if self._lost_since is None else self._lost_since
        self._begin()

    # ── the channel from the master ──

    def _attach(self, sender: Entity, receiver: Entity, handshake: AckClone, snapshot: Snapshot | None) -> None:
        if receiver != self.me:
            self.refused["not_for_us"] += 1
            return
        self._heard = self._now
        if self.master is None:
            self.master = sender
            self._install(handshake, snapshot or Snapshot(handshake, self.content, sender))
            self._open_writer(sender)
        elif self.master != sender:
            self.refused["not_our_master"] += 1
            return
        self._lost_since = None
        self._tell(sender, self._consumer.acknowledge())
        self._flush()

    def _install(self, handshake: AckClone, snapshot: Snapshot) -> None:
        """The snapshot replaces the content; what has changed is told. Events that came before it follow."""
        self.changes += snapshot.changes_to(self.content)
        self.content = snapshot.content
        self.is_synchronised = True
        for action in self._consumer.on_handshake(handshake.offset, handshake.heartbeat):
            self._apply(action)

    def _apply(self, action: Action) -> None:
        match action:
            case Put(key, value, _, publisher):
                old = self.content.get(key)
                self.content.put(key, value, None)
                self._note(ChangeKind.INSERT if old is None else ChangeKind.UPDATE, key, value, old, publisher)
            case Erase(key, publisher) | Expire(key, publisher):
                old = self.content.get(key)
                if self.content.erase(key):
                    kind = ChangeKind.ERASE if isinstance(action, Erase) else ChangeKind.EXPIRE
                    self._note(kind, key, None, old, publisher)
            case Clear(publisher):
                self.content.clear()
                self._note(ChangeKind.CLEAR, b"", None, None, publisher)
            case PutUniqueResult(is_inserted, who, request) if who == self.me:
                self.results.append((request, is_inserted))

    def _note(self, kind: ChangeKind, key: bytes, value: bytes | None, old: bytes | None, publisher: Entity) -> None:
        self.changes.append(StoreChange(kind, key, value, old, None, publisher))

    # ── the channel to the master ──

    def _open_writer(self, master: Entity) -> None:
        if not self._producer.knows(master):
            self._producer.attach(master)
        self._send(AttachWriter(FIRST_SEQ, HEARTBEAT), master)

    def _flush(self) -> None:
        while self._waiting and self.is_attached:
            ticket, _, action = self._waiting.popleft()
            self._publish(ticket, action)

    def _publish(self, ticket: int, action: Action) -> None:
        assert self.master is not None
        if isinstance(action, PutUnique):
            action = msgspec.structs.replace(action, who=self.me, request=ticket)
        seq = self._producer.publish(action)
        assert seq is not None, "the master is a consumer"
        self._sent.append((seq, ticket, action))
        self._messages.append(outgoing(self.me, action, is_to_master=True, receiver=self.master, seq=seq))

    def _settle(self, master: Entity, seq: int) -> None:
        self._producer.on_ack(master, seq)
        while self._sent and self._sent[0][0] <= seq:
            self.fates.append(Fate(self._sent.popleft()[1], ""))

    def _repeat(self, master: Entity, seqs: tuple[int, ...]) -> None:
        for repeat in self._producer.on_nack(master, seqs):
            if repeat.seq == 0:
                self._open_writer(master)
            elif repeat.event is None:
                self._send(RetransmitFailed(repeat.seq), master)
            else:
                event = outgoing(self.me, repeat.event, is_to_master=True, receiver=master, seq=repeat.seq)
                self._messages.append(event)
        if seqs and seqs[0]:
            self._settle(master, seqs[0] - 1)

    def _tell(self, master: Entity, command: Command) -> None:
        self._messages.append(outgoing(self.me, command, is_to_master=True, endpoint=master.endpoint, receiver=master))

    def _send(self, command: Command, receiver: Entity = NOBODY) -> None:
        self._messages.append(outgoing(self.me, command, is_to_master=True, endpoint=NIL, receiver=receiver))
