"""A store's master: applies what it is told, tells all clones, and says what is to be kept on a disk.

What it wants to be done is taken with `Master.take`, a step at a time. Whoever keeps the changes of a step before he
sends its messages never acknowledges what a crash can undo.

Source: Broker, ``internal/master_actor.cc``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import msgspec

from appliance.errors import RemoteProtocolError
from appliance.wire.names import NIL
from appliance.zeek.binary import decode, encode

from .commands import (
    AckClone,
    Action,
    Add,
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
    Subtract,
    signed,
)
from .consumer import Consumer
from .content import Content
from .operations import TypeClashError, add, initial, subtract
from .outputs import ChangeKind, Outgoing, StoreChange, outgoing
from .producer import HEARTBEAT, Producer

__all__ = ["MANY", "Master", "Step"]

MANY = 10_000
"""Entries of a snapshot that is better written somewhere else than in an event loop."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """What a master wants to be done: first the changes are kept, then the messages sent."""

    changes: tuple[StoreChange, ...]
    messages: tuple[Outgoing, ...]


class Master:
    """See the module.

    Args:
        me: its name, which it has all its life.
        content: what it begins with.
        expire_after_ns: lifetime of values that are put without one.
        max_snapshot: bytes; a larger one is not sent.
        max_events: kept for clones that have not acknowledged them.
    """

    def __init__(
        self,
        me: Entity,
        content: Content,
        *,
        expire_after_ns: int | None = None,
        max_snapshot: int = 1 << 30,
        max_events: int = 1_000_000,
    ) -> None:
        self.me = me
        self.content = content
        self.expire_after_ns = expire_after_ns
        self.refused: Counter[str] = Counter()
        """Commands that had no effect, by reason."""
        self.max_snapshot = max_snapshot
        self._max_events = max_events
        self._producer: Producer[Action] = Producer(max_events=max_events)
        self._handshakes: dict[Entity, AckClone] = {}
        """What a clone was answered, as long as it has not acknowledged it."""
        self._snapshot: tuple[int, Collection[tuple[bytes, bytes]]] | None = None
        self._writers: dict[Entity, Consumer[Action]] = {}
        self._unacked: dict[Entity, None] = {}
        self._changes: list[StoreChange] = []
        self._messages: list[Outgoing] = []
        self._now_ns = 0

    @property
    def clones(self) -> tuple[Entity, ...]:
        return self._producer.consumers

    @property
    def writers(self) -> tuple[Entity, ...]:
        return tuple(self._writers)

    def take(self) -> Step | None:
        """What is to be done since the last call."""
        for writer in self._unacked:
            consumer = self._writers.get(writer)
            if consumer is not None:
                self._unicast(writer, consumer.acknowledge())
        self._unacked.clear()
        if not (self._changes or self._messages):
            return None
        step = Step(tuple(self._changes), tuple(self._messages))
        self._changes.clear()
        self._messages.clear()
        return step

    # ── what happens ──

    def receive(self, message: StoreMessage, now_ns: int) -> None:
        """Take a command that came on the master's topic."""
        self._now_ns = now_ns
        sender, command = message.sender, message.command
        if sender.endpoint == NIL:
            self.refused["bad_sender"] += 1
            return
        match command:
            case Nack((0,)) if not self._producer.knows(sender) or self._producer.has_heard_from(sender):
                self._attach(sender)
            case Nack(seqs):
                self._repeat(sender, seqs)
            case CumulativeAck(seq):
                if self._producer.on_ack(sender, seq):
                    self._handshakes.pop(sender, None)
            case AttachWriter(offset, heartbeat):
                self._attach_writer(sender, offset, heartbeat)
            case AckClone():
                self.refused["not_for_masters"] += 1
            case _:
                self._hear_writer(sender, message.seq, command)

    def tick(self, now_ns: int) -> None:
        """100 ms have passed."""
        self._now_ns = now_ns
        for key in self.content.expire(now_ns):
            self._note(ChangeKind.EXPIRE, key, None, None, None, self.me)
            self._broadcast(Expire(key, self.me))
        is_due, silent = self._producer.tick()
        for clone in silent:
            self._drop(clone)
            self.refused["silent_clone"] += 1
        if is_due:
            self._keep_alive()
        for writer, consumer in self._writers.items():
            command = consumer.tick()
            if command is not None:
                self._unicast(writer, command)

    def apply(self, action: Action, now_ns: int) -> bool:
        """Do what somebody in this process wants.

        Returns:
            Whether it had an effect.

        Raises:
            TypeClashError: the value is of a type with which that cannot be done.
            RemoteProtocolError: key or value is none.
        """
        self._now_ns = now_ns
        return self._apply(signed(action, self.me))

    def rename(self, me: Entity) -> None:
        """Begin anew under another name: all clones and writers have to come again. The content stays."""
        self.me = me
        self._producer = Producer(max_events=self._max_events)
        self._handshakes.clear()
        self._writers.clear()
        self._unacked.clear()
        self._messages.clear()

    # ── clones ──

    def _attach(self, clone: Entity) -> None:
        if self.content.size > self.max_snapshot:
            self.refused["snapshot_too_large"] += 1
            return
        if self._snapshot is None or self._snapshot[0] != self._producer.seq or not self._producer.consumers:
            # Without consumers nothing is numbered, so the number says nothing.
            content = self.content
            self._snapshot = self._producer.seq, content.frozen() if len(content) > MANY else content.pairs()
        entries = self._snapshot[1]
        offset = self._producer.attach(clone)
        handshake = self._handshakes[clone] = AckClone(offset, HEARTBEAT, entries)
        self._unicast(clone, handshake, seq=offset)

    def _repeat(self, clone: Entity, seqs: tuple[int, ...]) -> None:
        if not self._producer.knows(clone):
            self.refused["unknown_clone"] += 1
        for repeat in self._producer.on_nack(clone, seqs):
            if repeat.seq == 0:
                handshake = self._handshakes[clone]
                self._unicast(clone, handshake, seq=handshake.offset)
            elif repeat.event is None:
                self._unicast(clone, RetransmitFailed(repeat.seq))
            else:
                self._messages.append(
                    outgoing(self.me, repeat.event, is_to_master=False, endpoint=clone.endpoint, seq=repeat.seq)
                )

    def _drop(self, clone: Entity) -> None:
        self._producer.forget(clone)
        self._handshakes.pop(clone, None)
        self._writers.pop(clone, None)

    def _keep_alive(self) -> None:
        keepalive = Keepalive(self._producer.seq)
        self._messages.append(outgoing(self.me, keepalive, is_to_master=False))
        for clone in self._producer.consumers:  # Broker's clones are deaf to what has no receiver
            self._unicast(clone, keepalive)

    def _broadcast(self, action: Action) -> None:
        seq = self._producer.publish(action)
        self._snapshot = None
        if seq is not None:
            self._messages.append(outgoing(self.me, action, is_to_master=False, seq=seq))

    def _unicast(self, receiver: Entity, command: Command, *, seq: int = 0) -> None:
        self._messages.append(
            outgoing(self.me, command, is_to_master=False, endpoint=receiver.endpoint, receiver=receiver, seq=seq)
        )

    # ── writers ──

    def _attach_writer(self, writer: Entity, offset: int, heartbeat: int) -> None:
        consumer = self._writers.setdefault(writer, Consumer())
        for action in consumer.on_handshake(offset, heartbeat):
            self._try(action)
        self._unacked[writer] = None

    def _hear_writer(self, writer: Entity, seq: int, command: Command) -> None:
        consumer = self._writers.get(writer)
        if consumer is None:
            self.refused["unknown_writer"] += 1
            return
        if isinstance(command, Keepalive):
            consumer.on_keepalive(command.seq)
            return
        if isinstance(command, RetransmitFailed):
            self.refused["lost_by_writer"] += 1
            ready = consumer.on_lost(command.seq)
        else:
            assert not isinstance(command, AttachWriter | CumulativeAck | Nack | AckClone)
            ready = consumer.on_event(seq, command)
        for action in ready:
            self._try(action)
        self._unacked[writer] = None

    def _try(self, action: Action) -> None:
        try:
            if not self._apply(action):
                self.refused["no_effect"] += 1
        except TypeClashError:
            self.refused["type_clash"] += 1
        except RemoteProtocolError:
            self.refused["bad_value"] += 1

    # ── content ──

    def _apply(self, action: Action) -> bool:
        match action:
            case Put(key, value, expiry_ns, publisher):
                self._put(key, value, expiry_ns, publisher, action)
            case PutUnique():
                return self._put_unique(action)
            case Erase(key, publisher):
                old = self.content.get(key)
                if old is None:
                    return False
                self.content.erase(key)
                self._note(ChangeKind.ERASE, key, None, old, None, publisher)
                self._broadcast(action)
            case Add(key, value, init_type, expiry_ns, publisher):
                old = self.content.get(key)
                before = initial(init_type) if old is None else decode(old)
                self._put(key, encode(add(before, decode(value)), is_canonical=True), expiry_ns, publisher)
            case Subtract(key, value, expiry_ns, publisher):
                old = self.content.get(key)
                if old is None:
                    return False
                self._put(key, encode(subtract(decode(old), decode(value)), is_canonical=True), expiry_ns, publisher)
            case Clear(publisher):
                self.content.clear()
                self._note(ChangeKind.CLEAR, b"", None, None, None, publisher)
                self._broadcast(action)
            case _:  # what only masters send
                self.refused["not_for_masters"] += 1
                return False
        return True

    def _put(
        self, key: bytes, value: bytes, expiry_ns: int | None, publisher: Entity, action: Put | None = None
    ) -> None:
        span_ns = self.expire_after_ns if expiry_ns is None else expiry_ns
        due_ns = None if span_ns is None else self._now_ns + span_ns
        old = self.content.get(key)
        self.content.put(key, value, due_ns)
        self._note(ChangeKind.INSERT if old is None else ChangeKind.UPDATE, key, value, old, due_ns, publisher)
        self._broadcast(action or Put(key, value, None, publisher))

    def _put_unique(self, action: PutUnique) -> bool:
        is_new = action.key not in self.content
        if is_new:
            self._put(
                action.key, action.value, action.expiry_ns, action.publisher,
                Put(action.key, action.value, action.expiry_ns, action.publisher),
            )  # fmt: skip
        self._broadcast(PutUniqueResult(is_new, action.who, action.request, self.me))
        return is_new

    def _note(
        self,
        kind: ChangeKind,
        key: bytes,
        value: bytes | None,
        old: bytes | None,
        expiry_ns: int | None,
        publisher: Entity,
    ) -> None:
        self._changes.append(StoreChange(kind, key, value, old, expiry_ns, publisher))
